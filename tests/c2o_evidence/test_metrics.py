"""AP against an implementation written here from COCO's definition, with loops and no numpy tricks."""

import json
import math
import random

import numpy as np
import pytest

from c2o_evidence.detections import Detections
from c2o_evidence.errors import TableError
from c2o_evidence.metrics import GroundTruth, coco_metrics

AREAS = {"AP": (0, 1e10), "APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10)}
# pycocotools adds an epsilon to the denominator of precision.
approx_100 = pytest.approx(100.0, abs=1e-12)
THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]


def iou(a, b):
    """a, b: x1, y1, x2, y2."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def inside(area, low_high):
    return low_high[0] <= area <= low_high[1]


def average_precision(gts, dets, threshold, areas):
    """AP of one class; None: undefined. gts: {image: [box]}, dets: [(image, score, box)] in model order."""
    positives = sum(inside((b[2] - b[0]) * (b[3] - b[1]), areas) for boxes in gts.values() for b in boxes)
    if positives == 0:
        return None
    per_image = {}
    for image, score, box in dets:
        per_image.setdefault(image, []).append((score, box))
    judged = []  # (score, true positive) of detections that count
    for image in sorted(per_image):
        ranked = sorted(per_image[image], key=lambda item: -item[0])[:100]
        boxes = gts.get(image, [])
        counted = [inside((b[2] - b[0]) * (b[3] - b[1]), areas) for b in boxes]
        taken = [False] * len(boxes)
        for score, box in ranked:
            # The free object of the asked size with the largest overlap (the later one of equals). Only if
            # there is none, one of another size, which makes the detection count for nothing.
            choice = None
            for wanted in (True, False):
                best = min(threshold, 1 - 1e-10)
                for index, other in enumerate(boxes):
                    if counted[index] == wanted and not taken[index] and iou(box, other) >= best:
                        best, choice = iou(box, other), index
                if choice is not None:
                    break
            if choice is not None:
                taken[choice] = True
                if counted[choice]:
                    judged.append((score, True))
            elif inside((box[2] - box[0]) * (box[3] - box[1]), areas):
                judged.append((score, False))
    judged.sort(key=lambda item: -item[0])
    points, hits = [], 0
    for rank, (_, hit) in enumerate(judged, start=1):
        hits += hit
        points.append((hits / positives, hits / rank))
    total = 0.0
    for step in range(101):
        level = np.linspace(0, 1, 101)[step]
        total += max((precision for recall, precision in points if recall >= level), default=0.0)
    return total / 101


def reference(gt, detections, names):
    """All metrics of COCO by brute force."""

    def classes(areas, thresholds):
        table = {}
        for label, name in enumerate(names):
            category = next(c["id"] for c in gt["categories"] if c["name"] == name)
            boxes = {}
            for item in gt["annotations"]:
                if item["category_id"] == category:
                    x, y, w, h = item["bbox"]
                    boxes.setdefault(item["image_id"], []).append((x, y, x + w, y + h))
            dets = [d[:3] for d in detections if d[3] == label]
            table[name] = [average_precision(boxes, dets, t, areas) for t in thresholds]
        return table

    def average(values):
        values = [v for v in values if v is not None]
        return 100 * sum(values) / len(values) if values else math.nan

    result = {}
    for key, areas in AREAS.items():
        result[key] = average([v for row in classes(areas, THRESHOLDS).values() for v in row])
    everything = classes(AREAS["AP"], THRESHOLDS)
    result["AP50"] = average([row[0] for row in everything.values()])
    result["AP75"] = average([row[5] for row in everything.values()])
    return result | {f"AP-{name}": average(row) for name, row in everything.items()}


def document(boxes, categories=("a", "b"), images=(1, 2, 3)):
    """boxes: (image, category name, x, y, w, h)."""
    ids = {name: 10 * (index + 1) for index, name in enumerate(categories)}
    return {
        "images": [{"id": i, "width": 400, "height": 400} for i in images],
        "categories": [{"id": ids[name], "name": name} for name in categories],
        "annotations": [
            {"id": n, "image_id": i, "category_id": ids[c], "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            for n, (i, c, x, y, w, h) in enumerate(boxes)
        ],
    }


def pack(rows):
    """rows: (image, score, (x1, y1, x2, y2), label)."""
    return Detections.from_arrays(
        {
            "image_id": [row[0] for row in rows],
            "score": [row[1] for row in rows],
            "box": np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
            "label": [row[3] for row in rows],
        }
    )


def check(gt, rows, names=("a", "b")):
    got = GroundTruth(gt, "gt").evaluate(pack(rows), names)
    # scores as the stored float32
    expected = reference(gt, [(i, float(np.float32(s)), b, label) for i, s, b, label in rows], names)
    assert list(got) == ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP-{name}" for name in names)]
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key
    return got


def random_case(seed, tie=False):
    rng = random.Random(seed)
    boxes, rows = [], []
    for _ in range(rng.randint(1, 12)):
        size = rng.choice([8, 20, 40, 90, 150])
        box = (
            rng.randint(0, 200),
            rng.randint(0, 200),
            rng.randint(size // 2, size),
            rng.randint(size // 2, size),
        )
        boxes.append((rng.randint(1, 3), rng.choice("ab"), *box))
    for image, name, x, y, w, h in boxes:
        for _ in range(rng.randint(0, 3)):
            # eighths keep corners and sizes exact in float32
            dx, dy = rng.randint(-2 * w, 2 * w) / 8, rng.randint(-2 * h, 2 * h) / 8
            label = "ab".index(name) if rng.random() < 0.8 else rng.randint(0, 1)
            score = rng.choice([0.25, 0.5, 0.75]) if tie else rng.random()
            rows.append((image, score, (x + dx, y + dy, x + w + dx, y + h + dy), label))
    for _ in range(rng.randint(0, 5)):
        x, y, w, h = (rng.randint(1, 200) for _ in range(4))
        rows.append((rng.randint(1, 3), rng.choice([0.25, 0.9]), (x, y, x + w, y + h), rng.randint(0, 1)))
    rng.shuffle(rows)
    return document(boxes), rows


@pytest.mark.parametrize("seed", range(20))
def test_random_scenes_agree_with_brute_force(seed):
    check(*random_case(seed))


@pytest.mark.parametrize("seed", range(20, 40))
def test_random_scenes_with_equal_scores_agree_with_brute_force(seed):
    check(*random_case(seed, tie=True))


def test_a_hand_worked_case():
    # One class, two objects, three detections: hit, miss, hit. Precision 1 up to recall 1/2, then 2/3:
    # 51 of the 101 recall levels have 1, 50 have 2/3.
    gt = document([(1, "a", 0, 0, 50, 50), (2, "a", 0, 0, 50, 50)], categories=("a",))
    rows = [
        (1, 0.9, (0, 0, 50, 50), 0),
        (1, 0.8, (100, 100, 150, 150), 0),
        (2, 0.7, (0, 0, 50, 50), 0),
    ]
    got = check(gt, rows, ("a",))
    assert got["AP"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert math.isnan(got["APs"]) and got["APm"] == got["AP"]


def test_undefined_is_nan_and_a_miss_is_zero():
    gt = document([(1, "a", 0, 0, 50, 50)])
    got = check(gt, [])
    assert got["AP"] == 0.0 and got["AP-a"] == 0.0 and math.isnan(got["AP-b"])
    assert math.isnan(got["APs"]) and got["APm"] == 0.0 and math.isnan(got["APl"])
    empty = check(document([]), [(1, 0.5, (0, 0, 9, 9), 0)])
    assert all(math.isnan(value) for value in empty.values())


def test_perfect_is_100():
    boxes = [(1, "a", 0, 0, 16, 16), (2, "b", 5, 5, 64, 64), (3, "a", 0, 0, 128, 128)]
    rows = [(i, 0.5, (x, y, x + w, y + h), "ab".index(c)) for i, c, x, y, w, h in boxes]
    assert all(value == approx_100 for value in check(document(boxes), rows).values())


def test_at_most_100_detections_an_image_and_class_count():
    gt = document([(1, "a", 0, 0, 50, 50)], categories=("a",))
    noise = [(1, 0.9, (200 + k, 200, 240 + k, 240), 0) for k in range(100)]
    assert check(gt, [*noise, (1, 0.1, (0, 0, 50, 50), 0)], ("a",))["AP"] == 0.0
    assert check(gt, [*noise[1:], (1, 0.1, (0, 0, 50, 50), 0)], ("a",))["AP"] > 0.0


def test_labels_follow_the_names_given_not_the_category_ids():
    gt = document([(1, "b", 0, 0, 50, 50)])
    row = [(1, 0.5, (0, 0, 50, 50), 0)]
    assert coco_metrics(GroundTruth(gt, "gt"), pack(row), ("b", "a"))["AP-b"] == approx_100
    assert coco_metrics(GroundTruth(gt, "gt"), pack(row))["AP-b"] == 0.0


def test_an_index_gives_the_same_numbers_again_and_nothing_is_printed(tmp_path, capsys):
    gt, rows = random_case(3)
    path = tmp_path / "val.json"
    path.write_text(json.dumps(gt))
    truth = GroundTruth.load(path)
    first = coco_metrics(truth, pack(rows))
    coco_metrics(truth, pack([]))
    assert coco_metrics(truth, pack(rows)) == first or any(math.isnan(v) for v in first.values())
    assert repr(coco_metrics(path, pack(rows))) == repr(first)
    assert capsys.readouterr().out == ""


def test_crowds_neither_help_nor_hurt():
    gt = document([(1, "a", 0, 0, 50, 50), (1, "a", 100, 100, 80, 80)], categories=("a",))
    gt["annotations"][1]["iscrowd"] = 1
    rows = [(1, 0.5, (0, 0, 50, 50), 0), (1, 0.9, (110, 110, 130, 130), 0)]
    assert GroundTruth(gt, "gt").evaluate(pack(rows))["AP"] == approx_100


def test_faults_of_annotations_and_detections(tmp_path):
    good = document([(1, "a", 0, 0, 9, 9)])
    with pytest.raises(TableError, match="gt: label 2 has no name, there are 2"):
        GroundTruth(good, "gt").evaluate(pack([(1, 0.5, (0, 0, 1, 1), 2)]))
    with pytest.raises(TableError, match="gt: images: 9 was detected on but is not there; wrong split"):
        GroundTruth(good, "gt").evaluate(pack([(9, 0.5, (0, 0, 1, 1), 0)]))
    with pytest.raises(TableError, match="gt: categories: 'c' is a class of the model but not a category here"):
        GroundTruth(good, "gt").evaluate(pack([]), ("a", "c"))
    with pytest.raises(TableError, match="hold a name twice"):
        GroundTruth(good, "gt").evaluate(pack([]), ("a", "a"))
    cases = [
        ({"images": []}, "annotations: is missing or not a list"),
        ({**good, "images": good["images"] * 2}, "a category or image is there twice"),
        (
            {**good, "annotations": [{**good["annotations"][0], "image_id": 77}]},
            "names an unknown image or category",
        ),
        ({**good, "annotations": [{**good["annotations"][0], "bbox": [1, 2, 3]}]}, "an entry is malformed"),
        (
            {**good, "annotations": [{**good["annotations"][0], "bbox": [1, 2, 3, math.nan]}]},
            "an entry is malformed",
        ),
        ({**good, "annotations": [7]}, "an entry is malformed"),
    ]
    for bad, message in cases:
        with pytest.raises(TableError) as caught:
            GroundTruth(bad, "gt")
        assert str(caught.value).startswith("gt: ") and message in str(caught.value)
    for text, message in [("{", "is not JSON"), ("[]", "is not a mapping")]:
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(TableError, match=f"x.json: {message}"):
            GroundTruth.load(tmp_path / "x.json")
    with pytest.raises(TableError, match="gone.json: cannot be read: No such file"):
        GroundTruth.load(tmp_path / "gone.json")
