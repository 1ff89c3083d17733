"""Small sets and detections written by hand or drawn at random, boxes as x1, y1, x2, y2."""

import numpy as np

from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth

CLASSES = ("cat", "dog", "owl")
Box = tuple[float, float, float, float]
Thing = tuple[int, str, Box]  # image, class, box


def truth_of(objects: list[Thing], crowds: list[Thing] = (), images: int = 3, aside: list[Thing] = ()) -> GroundTruth:
    """`crowds`: regions to be ignored. `aside`: objects marked difficult, as VOC has them."""
    annotations = []
    for crowd, difficult, things in ((0, 0, objects), (1, 0, crowds), (0, 1, aside)):
        for image, name, (x1, y1, x2, y2) in things:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": CLASSES.index(name) + 5,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": crowd,
            }
            annotations.append(annotation | ({"difficult": difficult} if aside else {}))
    return GroundTruth(
        {
            "images": [{"id": image, "width": 100, "height": 100} for image in range(1, images + 1)],
            "annotations": annotations,
            "categories": [{"id": number + 5, "name": name} for number, name in enumerate(CLASSES)],
        },
        "by hand",
    )


def found_of(things: list[tuple[int, str, Box, float]]) -> Detections:
    """Detections as (image, class, box, score)."""
    return Detections.from_arrays(
        {
            "image_id": [image for image, _, _, _ in things],
            "label": [CLASSES.index(name) for _, name, _, _ in things],
            "box": np.array([box for _, _, box, _ in things], np.float32).reshape(-1, 4),
            "score": [score for _, _, _, score in things],
        }
    )


def random_set(seed: int, crowds: bool = True) -> tuple[GroundTruth, Detections]:
    """Objects that overlap, and detections that are copies of them, shifted, of a wrong class, or anywhere."""
    rng = np.random.default_rng(seed)
    objects, regions, found = [], [], []
    for image in (1, 2, 3, 4):
        for _ in range(int(rng.integers(0, 5))):
            x, y = rng.integers(0, 40, 2).tolist()
            w, h = rng.integers(10, 40, 2).tolist()
            box, name = (float(x), float(y), float(x + w), float(y + h)), CLASSES[int(rng.integers(3))]
            (regions if crowds and rng.random() < 0.15 else objects).append((image, name, box))
            for _ in range(int(rng.integers(0, 4))):
                dx, dy = (rng.normal(0, 0.3, 2) * (w, h)).tolist()
                other = CLASSES[int(rng.integers(3))] if rng.random() < 0.4 else name
                moved = (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)
                found.append((image, other, moved, round(float(rng.random()), 1)))  # with equal scores
        x, y = rng.integers(0, 80, 2).tolist()
        found.append((image, CLASSES[int(rng.integers(3))], (x, y, x + 15.0, y + 15.0), float(rng.random())))
    return truth_of(objects, regions, images=4), found_of([found[i] for i in rng.permutation(len(found))])


def iou(a: Box, b: Box, region: bool = False) -> float:
    """The definition: intersection over union; with a crowd region, over the area of `a`."""
    inner = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    first, second = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inner / first if region else inner / (first + second - inner)


def things_in(truth: GroundTruth, image: int) -> list[tuple[str, Box, bool]]:
    """(class, box, crowd) of the annotations of an image, in their order."""
    found = []
    for item in truth._document["annotations"]:
        if item["image_id"] == image:
            x, y, w, h = item["bbox"]
            found.append((CLASSES[item["category_id"] - 5], (x, y, x + w, y + h), bool(item["iscrowd"])))
    return found


def found_in(detections: Detections, image: int) -> list[tuple[str, Box, float, int]]:
    """(class, box, score, place in the run) of the detections on an image, best first, equal ones as given."""
    mine = [number for number in range(len(detections)) if detections.image_id[number] == image]
    ranked = sorted(mine, key=lambda number: -float(detections.score[number]))
    return [
        (CLASSES[detections.label[n]], tuple(detections.box[n].tolist()), float(detections.score[n]), n) for n in ranked
    ]
