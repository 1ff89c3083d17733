"""AP as PASCAL VOC 2007 defines it: IoU above 0.5, 11 recall points, mean over classes.

A detection, best score first, takes the ground-truth box of its class and image that it overlaps most. Above 0.5 it
is true if that box is free, false if it is taken, and does not count if the box is marked ``difficult``; otherwise it
is false. AP is the mean over recalls r = 0, 0.1, ... 1 of the best precision at recall >= r. Recall counts boxes that
are not difficult. Boxes are real-valued: unlike the development kit, no pixel is added to widths and heights.
Source: Everingham et al., IJCV 88 (2010), section 4.2 and eq. 1-2.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from c2o_evidence.detections import Detections
from c2o_evidence.errors import TableError

NAME = "AP_voc07"
IOU = 0.5
RECALLS = 11

_Floats = npt.NDArray[np.float64]


def voc07_ap(
    document: Mapping[str, Any], detections: Detections, class_names: Sequence[str] | None = None
) -> dict[str, float]:
    """AP_voc07, then `AP_voc07-<class>` in label order, on the 0-100 scale; a class without ground truth is nan.

    Args:
        document: a COCO annotation document; crowd regions and boxes with a true ``difficult`` are not counted.
        detections: labels index `class_names`. Equal scores keep the order given.
        class_names: default: the document's categories by ascending id.

    Raises:
        TableError: a class is not a category of the document.
    """
    categories = {item["name"]: item["id"] for item in document["categories"]}
    by_id = sorted(categories, key=lambda name: int(categories[name]))
    names = tuple(class_names) if class_names is not None else tuple(by_id)
    for name in names:
        if name not in categories:
            raise TableError(f"categories: {name!r} is a class of the model but not a category here")
    found = {}
    for label, name in enumerate(names):
        truth = [item for item in document["annotations"] if item["category_id"] == categories[name]]
        mine = detections.label == label
        found[f"{NAME}-{name}"] = 100.0 * _class_ap(
            truth, detections.image_id[mine], detections.box[mine].astype(np.float64), detections.score[mine]
        )
    defined = [value for value in found.values() if not math.isnan(value)]
    return {NAME: math.fsum(defined) / len(defined) if defined else math.nan, **found}


def eleven_points(precision: _Floats, recall: _Floats) -> float:
    """Mean over r = 0, 0.1, ... 1 of the highest precision at a recall of at least r (0 where none gets there).

    Args:
        precision, recall: [n], after 1, 2, ... n detections; recall ascends.
    """
    best = [precision[recall >= point / (RECALLS - 1)].max(initial=0.0) for point in range(RECALLS)]
    return math.fsum(best) / RECALLS


def _class_ap(
    truth: Sequence[Mapping[str, Any]], image_id: npt.NDArray[np.int64], box: _Floats, score: npt.NDArray[np.float32]
) -> float:
    """AP of one class, 0..1; nan without a box that counts."""
    boxes: dict[int, list[list[float]]] = {}
    aside: dict[int, list[bool]] = {}
    for item in truth:
        x, y, w, h = item["bbox"]
        boxes.setdefault(item["image_id"], []).append([x, y, x + w, y + h])
        aside.setdefault(item["image_id"], []).append(bool(item.get("difficult") or item.get("iscrowd")))
    count = sum(not mark for marks in aside.values() for mark in marks)
    if not count:
        return math.nan
    corners = {image: np.asarray(rows, np.float64) for image, rows in boxes.items()}
    taken = {image: [False] * len(rows) for image, rows in boxes.items()}
    hits, misses = [], []
    for index in np.argsort(-score, kind="stable").tolist():
        image = int(image_id[index])
        hit, miss = 0, 1
        if image in corners:
            overlap = _iou(box[index], corners[image])
            best = int(overlap.argmax())
            if overlap[best] > IOU:
                if aside[image][best]:
                    miss = 0
                elif not taken[image][best]:
                    taken[image][best] = True
                    hit, miss = 1, 0
        hits.append(hit)
        misses.append(miss)
    true, false = np.cumsum(hits, dtype=np.float64), np.cumsum(misses, dtype=np.float64)
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0)
    return eleven_points(precision, true / count)


def _iou(box: _Floats, others: _Floats) -> _Floats:
    """IoU of one box [4] with each of [n, 4], x1 y1 x2 y2."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inter = sides.clip(min=0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - inter
    iou: _Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou
