"""Precision over recall: worked by hand, and against the definition written out again."""

import math

import pytest

from c2o_evidence.analysis.precision_recall import IOUS, RECALLS, precision_curves
from tests.c2o_evidence.analysis.sets import CLASSES, found_in, found_of, iou, random_set, things_in, truth_of

CAT, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def test_two_objects_one_found_after_one_wrong_detection() -> None:
    """Right at .9, wrong at .8, right at .7: precision 1 up to recall 1/2, then 2/3."""
    truth = truth_of([(1, "cat", CAT), (2, "cat", CAT)])
    found = found_of([(1, "cat", CAT, 0.9), (1, "cat", FAR, 0.8), (2, "cat", CAT, 0.7)])
    curves = precision_curves(truth, found, CLASSES)
    assert set(curves) == {0.5, 0.75} and RECALLS[0] == 0 and RECALLS[25] == 0.5 and RECALLS[-1] == 1
    assert curves[0.5] == pytest.approx([1.0] * 26 + [2 / 3] * 25, abs=1e-9)


def test_box_that_holds_at_one_iou_alone() -> None:
    """10 x 10 moved by 2.5: IoU 75 / 125 = 0.6."""
    truth, found = truth_of([(1, "cat", CAT)]), found_of([(1, "cat", (2.5, 0.0, 12.5, 10.0), 0.9)])
    curves = precision_curves(truth, found, CLASSES)
    assert curves[0.5] == pytest.approx([1.0] * 51, abs=1e-9) and curves[0.75] == (0.0,) * 51


def test_mean_over_classes_that_have_objects_and_nan_without_any() -> None:
    truth = truth_of([(1, "cat", CAT), (1, "dog", FAR)])
    found = found_of([(1, "cat", CAT, 0.9), (1, "owl", FAR, 0.9)])  # owls have no object: not counted
    assert precision_curves(truth, found, CLASSES)[0.5] == pytest.approx([0.5] * 51, abs=1e-9)
    assert all(map(math.isnan, precision_curves(truth_of([]), found, CLASSES)[0.5]))
    assert precision_curves(truth, found_of([]), CLASSES)[0.75] == (0.0,) * 51


@pytest.mark.parametrize("seed", range(6))
def test_against_the_definition(seed: int) -> None:
    truth, found = random_set(seed)
    for least in IOUS:
        curves = [curve for name in CLASSES if (curve := by_definition(truth, found, name, least)) is not None]
        expected = [sum(points) / len(points) for points in zip(*curves, strict=True)]
        assert precision_curves(truth, found, CLASSES)[least] == pytest.approx(expected, abs=1e-9)


def by_definition(truth, found, name, least):
    """The highest precision at a recall of at least r, with detections matched image by image; None without objects."""
    marks, count = [], 0
    for image in sorted(truth.images):
        things = [(box, crowd) for other, box, crowd in things_in(truth, image) if other == name]
        count += sum(not crowd for _, crowd in things)
        free = [not crowd for _, crowd in things]
        for other, box, score, place in found_in(found, image):
            if other != name:
                continue
            overlaps = [(iou(box, b), i) for i, (b, _) in enumerate(things) if free[i] and iou(box, b) >= least]
            if overlaps:
                free[max(overlaps)[1]] = False
                marks.append((-score, image, place, True))
            elif not any(crowd and iou(box, b, region=True) >= least for b, crowd in things):
                marks.append((-score, image, place, False))
    if not count:
        return None
    points, right = [], 0
    for number, (*_, good) in enumerate(sorted(marks), start=1):
        right += good
        points.append((right / count, right / number))
    return [max((p for r, p in points if r >= recall - 1e-12), default=0.0) for recall in RECALLS]
