"""VOC 2007's AP, against examples worked by hand from the definition."""

import math

import numpy as np
import pytest

from c2o_evidence.detections import Detections
from c2o_evidence.errors import TableError
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.voc07 import eleven_points, voc07_ap


def document(objects: list[tuple[int, int, list[float], int]], names: tuple[str, ...] = ("cell",)) -> dict:
    """objects: (image id, category id, xywh, difficult)."""
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (1, 2)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
        "annotations": [
            {
                "id": n,
                "image_id": i,
                "category_id": c,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "difficult": d,
            }
            for n, (i, c, box, d) in enumerate(objects, 1)
        ],
    }


def detections(rows: list[tuple[int, list[float], float]], label: int = 0) -> Detections:
    """rows: (image id, xyxy, score)."""
    return Detections.from_arrays(
        {
            "image_id": [r[0] for r in rows],
            "box": np.array([r[1] for r in rows], np.float32).reshape(-1, 4),
            "score": [r[2] for r in rows],
            "label": [label] * len(rows),
        }
    )


A, B = [0, 0, 10, 10], [50, 50, 20, 20]


def test_true_false_true_by_hand() -> None:
    # Two boxes. By score: hit, miss, hit. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    # Recall points 0 ... 0.5 (six): 1; 0.6 ... 1 (five): 2/3.
    found = detections([(1, [0, 0, 10, 10], 0.9), (2, [0, 0, 10, 10], 0.8), (1, [50, 50, 70, 70], 0.7)])
    ap = voc07_ap(document([(1, 1, A, 0), (1, 1, B, 0)]), found)
    assert ap["AP_voc07"] == pytest.approx(100 * (6 * 1 + 5 * 2 / 3) / 11, abs=1e-9)
    assert ap["AP_voc07-cell"] == ap["AP_voc07"]


def test_second_hit_on_a_box_is_false() -> None:
    # One box: hit then double. Best precision at every recall stays 1.
    twice = [(1, [0, 0, 10, 10], 0.9), (1, [0, 0, 10, 9], 0.8)]
    assert voc07_ap(document([(1, 1, A, 0)]), detections(twice))["AP_voc07"] == 100
    # With a second box found last: hit, double, hit = precision 1, 1/2, 2/3.
    last = [*twice, (1, [50, 50, 70, 70], 0.1)]
    ap = voc07_ap(document([(1, 1, A, 0), (1, 1, B, 0)]), detections(last))["AP_voc07"]
    assert ap == pytest.approx(100 * (6 + 5 * 2 / 3) / 11, abs=1e-9)


def test_difficult_boxes_neither_help_nor_hurt() -> None:
    found = detections([(1, [50, 50, 70, 70], 0.9), (1, [0, 0, 10, 10], 0.8)])
    assert voc07_ap(document([(1, 1, A, 0), (1, 1, B, 1)]), found)["AP_voc07"] == 100
    # The same box undetected does not lower recall either.
    assert voc07_ap(document([(1, 1, A, 0), (1, 1, B, 1)]), detections([(1, [0, 0, 10, 10], 0.8)]))["AP_voc07"] == 100


def test_overlap_must_exceed_one_half() -> None:
    half = detections([(1, [0, 0, 10, 5], 0.9)])  # 50 of 100 px: IoU is exactly 0.5
    assert voc07_ap(document([(1, 1, A, 0)]), half)["AP_voc07"] == 0
    more = detections([(1, [0, 0, 10, 5.1], 0.9)])
    assert voc07_ap(document([(1, 1, A, 0)]), more)["AP_voc07"] == 100


def test_mean_is_over_classes_that_have_boxes() -> None:
    two = document([(1, 1, A, 0), (2, 2, B, 0)], ("a", "b", "c"))
    ap = voc07_ap(two, detections([(1, [0, 0, 10, 10], 0.9)]))
    assert ap["AP_voc07-a"] == 100 and ap["AP_voc07-b"] == 0 and math.isnan(ap["AP_voc07-c"])
    assert ap["AP_voc07"] == 50
    nothing = voc07_ap(document([]), detections([]))
    assert math.isnan(nothing["AP_voc07"])


def test_eleven_points_by_scalar_code() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        hits = rng.random(20) < 0.6
        precision, recall = np.cumsum(hits) / np.arange(1, 21), np.cumsum(hits) / 15
        points = [
            max([p for p, r in zip(precision, recall, strict=True) if r >= t / 10], default=0.0) for t in range(11)
        ]
        assert eleven_points(precision, recall) == pytest.approx(sum(points) / 11, abs=1e-12)


def test_it_joins_the_coco_metrics_where_difficult_is_marked() -> None:
    marked = document([(1, 1, A, 0)])
    found = detections([(1, [0, 0, 10, 10], 0.9)])
    metrics = GroundTruth(marked, "set").evaluate(found)
    assert list(metrics)[-2:] == ["AP_voc07", "AP_voc07-cell"]
    assert metrics["AP_voc07"] == 100 and metrics["AP"] == pytest.approx(100)
    for item in marked["annotations"]:
        del item["difficult"]
    assert "AP_voc07" not in GroundTruth(marked, "set").evaluate(found)


def test_unknown_class_is_named() -> None:
    with pytest.raises(TableError, match="'dog' is a class of the model but not a category here"):
        voc07_ap(document([]), detections([]), ["dog"])
