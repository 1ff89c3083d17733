"""Kinds of errors: a scene worked by hand for each, and against the definitions written out again."""

import pytest

from c2o_evidence.analysis.error_types import KINDS, error_types
from c2o_evidence.analysis.scenes import Scenes
from tests.c2o_evidence.analysis.sets import CLASSES, found_in, found_of, iou, random_set, things_in, truth_of

HERE, THERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
HALF = (0.0, 0.0, 10.0, 4.0)  # IoU 0.4 with HERE
TOUCH = (9.5, 0.0, 19.5, 10.0)  # IoU 5 / 195 = 0.03 with HERE


def of(truth, found):
    scenes = Scenes(truth, CLASSES)
    counts = error_types(list(scenes.of(found)), scenes.n_objects)
    return {kind: count for kind, count in counts.items() if count}


@pytest.mark.parametrize(
    ("detection", "kinds"),
    [
        ((1, "cat", HERE, 0.9), {}),
        ((1, "dog", HERE, 0.9), {"classification": 1}),  # the cat is not missed: the error is about it
        ((1, "cat", HALF, 0.9), {"localisation": 1}),
        ((1, "dog", HALF, 0.9), {"both": 1, "missed": 1}),
        ((1, "cat", TOUCH, 0.9), {"background": 1, "missed": 1}),
        ((2, "cat", HERE, 0.9), {"background": 1, "missed": 1}),
    ],
)
def test_one_object_and_one_detection(detection, kinds) -> None:
    assert of(truth_of([(1, "cat", HERE)]), found_of([detection])) == kinds


def test_the_second_detection_of_an_object() -> None:
    truth = truth_of([(1, "cat", HERE), (1, "cat", THERE)])
    assert of(truth, found_of([(1, "cat", HERE, 0.9), (1, "cat", HERE, 0.8)])) == {"duplicate": 1, "missed": 1}


def test_only_as_many_detections_are_looked_at_as_there_are_objects() -> None:
    """Of the whole run, whatever image they are on; of equal scores the first."""
    truth = truth_of([(1, "cat", HERE), (2, "dog", HERE)])
    rest = [(3, "owl", HERE, 0.8), (1, "owl", HERE, 0.8), (2, "dog", HERE, 0.8)]
    assert of(truth, found_of([(1, "cat", HERE, 0.9), *rest])) == {"background": 1, "missed": 1}
    assert of(truth, found_of([(1, "cat", HERE, 0.9), *rest[::-1]])) == {}


def test_what_fits_two_kinds_is_the_first_of_them() -> None:
    """Right class at IoU 0.4 and a wrong class at 0.67: a place that is not right, about the cat; the dog is missed."""
    truth = truth_of([(1, "cat", HERE), (1, "dog", (0.0, 0.0, 10.0, 6.0))])
    assert of(truth, found_of([(1, "cat", HALF, 0.9)])) == {"localisation": 1, "missed": 1}


def test_a_crowd_region_is_no_error_and_nothing_to_be_found() -> None:
    truth = truth_of([(2, "cat", HERE)], crowds=[(1, "cat", (0.0, 0.0, 50.0, 50.0))])
    assert of(truth, found_of([(1, "cat", HERE, 0.9)])) == {"missed": 1}
    assert of(truth_of([(2, "cat", HERE)], crowds=[(1, "cat", HERE)]), found_of([(1, "dog", HERE, 0.9)])) == {
        "background": 1,
        "missed": 1,
    }


def test_nothing_at_all() -> None:
    assert of(truth_of([], images=0), found_of([])) == {} == of(truth_of([]), found_of([]))
    assert of(truth_of([(1, "cat", HERE)]), found_of([])) == {"missed": 1}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crowds", [False, True])
def test_against_the_definitions(seed: int, crowds: bool) -> None:
    truth, found = random_set(seed, crowds)
    objects = sum(not crowd for image in truth.images for _, _, crowd in things_in(truth, image))
    everything = [(-score, place) for image in truth.images for *_, score, place in found_in(found, image)]
    looked_at = {place for _, place in sorted(everything)[:objects]}
    expected = dict.fromkeys(KINDS, 0)
    right = 0
    for image in truth.images:
        things = things_in(truth, image)
        real = [i for i, (_, _, crowd) in enumerate(things) if not crowd]
        owner: dict[int, int] = {}
        wrong = []
        for name, box, _, place in found_in(found, image):
            if place not in looked_at:
                continue
            near = [(iou(box, things[i][1]), i) for i in real if things[i][0] == name and i not in owner]
            if near and max(near)[0] >= 0.5:
                owner[max(near)[1]] = place
                right += 1
            elif not any(c and other == name and iou(box, b, region=True) >= 0.5 for other, b, c in things):
                wrong.append((name, box))
        about = set(owner)
        for name, box in wrong:
            same = max([(iou(box, things[i][1]), -i) for i in real if things[i][0] == name], default=(0.0, 0))
            other = max([(iou(box, things[i][1]), -i) for i in real if things[i][0] != name], default=(0.0, 0))
            if 0.1 <= same[0] < 0.5:
                kind = "localisation"
                about.add(-same[1])
            elif other[0] >= 0.5:
                kind = "classification"
                about.add(-other[1])
            elif same[0] >= 0.5:
                kind = "duplicate"
            else:
                kind = "both" if other[0] >= 0.1 else "background"
            expected[kind] += 1
        expected["missed"] += len(set(real) - about)
    assert of(truth, found) == {kind: count for kind, count in expected.items() if count}
    if not crowds and len(found) >= objects:
        assert right + sum(expected[kind] for kind in KINDS[:-1]) == objects
