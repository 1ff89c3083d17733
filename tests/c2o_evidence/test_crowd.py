"""Miss rate and Jaccard index of crowds: examples worked by hand, and all matchings tried out."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_evidence.crowd import SCORES, crowd_metrics
from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.voc07 import voc07_ap

Box = list[float]


def document(images: list[dict[str, list[Box]]]) -> dict[str, Any]:
    """images: {"persons": boxes xyxy, "ignored": boxes}; their ids are 1, 2, …"""
    objects = [
        {"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": int(kind == "ignored"), "category_id": 1}
        for number, image in enumerate(images, 1)
        for kind in ("persons", "ignored")
        for x0, y0, x1, y1 in image.get(kind, [])
    ]
    return {
        "info": {"metrics": "crowd"},
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 100} for n in range(1, len(images) + 1)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {**item, "id": n, "area": item["bbox"][2] * item["bbox"][3]} for n, item in enumerate(objects, 1)
        ],
    }


def detections(rows: list[tuple[int, Box, float]]) -> Detections:
    return Detections.from_arrays(
        {
            "image_id": [r[0] for r in rows],
            "box": np.array([r[1] for r in rows], np.float32).reshape(-1, 4),
            "score": [r[2] for r in rows],
            "label": [0] * len(rows),
        }
    )


A, B, C = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10]
NOWHERE = [80.0, 80, 90, 90]


def metrics(images: list[dict[str, list[Box]]], rows: list[tuple[int, Box, float]]) -> tuple[float, float]:
    found = crowd_metrics(document(images), detections(rows), ["person"])
    return found["MR"], found["JI"]


def test_miss_rate_by_hand() -> None:
    # One image, three persons; by score: hit, false, hit. One false positive is FPPI 1, the last of the nine points:
    # at the first eight only the first hit counts (2/3 missed), at the last one all (1/3 missed).
    mr, _ = metrics([{"persons": [A, B, C]}], [(1, A, 0.9), (1, NOWHERE, 0.8), (1, B, 0.7)])
    assert mr == pytest.approx(100 * math.exp((8 * math.log(2 / 3) + math.log(1 / 3)) / 9), abs=1e-9)


def test_false_positives_are_counted_an_image() -> None:
    # Ten images, one false positive above all hits: FPPI 0.1. The points below it (10^-2, 10^-1.75, 10^-1.5, 10^-1.25)
    # have nothing before it: all missed. From 10^-1 on both hits count: half of four persons.
    images = [{"persons": [A, B]}, {"persons": [A, B]}, *({} for _ in range(8))]
    mr, _ = metrics(images, [(5, NOWHERE, 0.9), (1, A, 0.5), (2, B, 0.4)])
    assert mr == pytest.approx(100 * math.exp(5 * math.log(1 / 2) / 9), abs=1e-9)


def test_a_second_detection_of_a_person_is_false_unless_it_finds_another() -> None:
    twice = [(1, A, 0.9), (1, [0.0, 0, 10, 9], 0.8)]
    assert metrics([{"persons": [A]}], twice)[1] == pytest.approx(100.0)  # at a score of 0.9 there is no second one
    assert metrics([{"persons": [A, B]}], twice)[0] == pytest.approx(50.0)
    # Two persons in one place, IoU 0.9: the second detection takes the one that is left.
    assert metrics([{"persons": [A, [0.0, 0, 10, 9]]}], twice) == pytest.approx((100 * 1e-10, 100.0))


def test_what_is_ignored_counts_neither_way() -> None:
    # [60, 0, 70, 10] lies by 60 % in the region, [60, 50, 70, 60] by 40 %; neither overlaps a person.
    images = [{"persons": [A], "ignored": [[64.0, 0, 100, 40]]}]
    assert metrics(images, [(1, [60.0, 0, 70, 10], 0.9), (1, A, 0.8)]) == pytest.approx((100 * 1e-10, 100.0))
    images = [{"persons": [A], "ignored": [[66.0, 50, 100, 60]]}]
    mr, ji = metrics(images, [(1, [60.0, 50, 70, 60], 0.95), (1, A, 0.85)])
    assert mr == pytest.approx(100 * math.exp(math.log(1e-10) / 9), rel=1e-6)  # one false positive: FPPI 1 at once
    assert ji == pytest.approx(50.0)
    # A person within a region is found all the same.
    assert metrics([{"persons": [A], "ignored": [[0.0, 0, 100, 100]]}], [(1, A, 0.8)])[1] == pytest.approx(100.0)


def test_jaccard_index_by_hand_is_at_its_best_score() -> None:
    # Image 1: three persons, two found, one false (score 0.35). Image 2: one person, not found. Image 3: nothing.
    images = [{"persons": [A, B, C]}, {"persons": [A]}, {}]
    rows = [(1, A, 0.9), (1, B, 0.55), (1, NOWHERE, 0.35)]
    # score 0.4 … 0.5: (2/3 + 0) / 2; score <= 0.3: (2/4 + 0) / 2; score >= 0.6: (1/3 + 0) / 2.
    assert metrics(images, rows)[1] == pytest.approx(100 / 3)


def test_the_matching_of_the_jaccard_index_is_a_largest_one() -> None:
    # The better detection overlaps both persons, and the left one more; the other one overlaps the left one only.
    persons = [[0.0, 0, 10, 10], [3.0, 0, 13, 10]]
    rows = [(1, [1.0, 0, 11, 10], 0.9), (1, [-2.0, 0, 8, 10], 0.9)]
    mr, ji = metrics([{"persons": persons}], rows)
    assert ji == pytest.approx(100.0)
    assert mr == pytest.approx(100 * math.exp((8 * math.log(1 / 2) + math.log(1 / 2)) / 9))  # greedy: one of two


def test_without_persons_both_are_undefined_and_without_detections_all_are_missed() -> None:
    assert all(math.isnan(value) for value in metrics([{"ignored": [A]}], [(1, A, 0.5)]))
    assert metrics([{"persons": [A]}, {}], []) == (100.0, 0.0)


grid = st.integers(0, 6).map(float)
boxes = st.builds(lambda x, y, w, h: [x, y, x + w + 1, y + h + 1], grid, grid, grid, grid)
scored = st.tuples(st.integers(1, 2), boxes, st.sampled_from([0.05, 0.25, 0.45, 0.65, 0.85]))


def iou(a: Box, b: Box) -> float:
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(boxes, max_size=4), min_size=2, max_size=2), st.lists(scored, max_size=5))
def test_the_jaccard_index_against_all_matchings(persons: list[list[Box]], rows: list[tuple[int, Box, float]]) -> None:
    if not any(persons):
        return
    best = 0.0
    for score in SCORES:
        values = []
        for number, known in enumerate(persons, 1):
            mine = [box for image, box, s in rows if image == number and s >= score]
            small, large = sorted((mine, known), key=len)
            matched = max(
                sum(iou(a, b) >= 0.5 for a, b in zip(small, chosen, strict=True))
                for chosen in itertools.permutations(large, len(small))
            )
            if size := len(mine) + len(known) - matched:
                values.append(matched / size)
        best = max(best, sum(values) / len(values))
    assert metrics([{"persons": known} for known in persons], rows)[1] == pytest.approx(100 * best)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(boxes, max_size=4), min_size=2, max_size=2), st.lists(scored, max_size=6))
def test_the_miss_rate_against_counting(persons: list[list[Box]], rows: list[tuple[int, Box, float]]) -> None:
    if not any(persons):
        return
    free = [list(known) for known in persons]
    false, missed = [0.0], [1.0]
    found = count = 0
    for image, box, _ in sorted(rows, key=lambda row: -row[2]):
        near = max(free[image - 1], key=lambda person: iou(box, person), default=None)
        if near is not None and iou(box, near) >= 0.5:
            free[image - 1].remove(near)
            found += 1
        else:
            count += 1
        false.append(count / 2)
        missed.append(1 - found / sum(map(len, persons)))
    logs = []
    for power in range(9):
        below = [m for f, m in zip(false, missed, strict=True) if f <= 10 ** (-2 + power / 4) + 1e-9]
        logs.append(math.log(max(below[-1], 1e-10)))
    mr = metrics([{"persons": known} for known in persons], rows)[0]
    assert mr == pytest.approx(100 * math.exp(sum(logs) / 9), rel=1e-6)


def test_they_are_computed_for_sets_that_ask_for_them() -> None:
    images = document([{"persons": [A, B]}])
    found = detections([(1, A, 0.9)])
    metrics = GroundTruth(images, "crowd").evaluate(found)
    assert list(metrics) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AP-person", "MR", "JI"]
    assert (metrics["MR"], metrics["JI"]) == pytest.approx((50.0, 50.0))
    for info in ({}, {"metrics": "other"}, [], None):
        assert "MR" not in GroundTruth({**images, "info": info}, "plain").evaluate(found)
    assert voc07_ap(images, found)["AP_voc07"] == pytest.approx(100 * 6 / 11)
