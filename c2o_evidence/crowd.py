"""Log-average miss rate and Jaccard index of crowded scenes, as CrowdHuman's results are reported.

A detection may match a person that it overlaps with an IoU of at least 0.5. One that matches nobody and lies by half of
its own area or more in one region to be ignored (``iscrowd``) does not count.

MR (MR^-2): detections, best score first, each take the free person that they overlap most. The miss rate is the share
of persons not taken; it is read at nine numbers of false positives an image, 10^-2 ... 10^0 evenly spaced in the
logarithm, each time with as many detections as stay at or below that number (1 where a single one is too many). MR is
their geometric mean; lower is better. Source: Dollar et al., TPAMI 34 (2012), section 3.1; Shao et al., 2018.

JI: in each image |M| / (|D| + |G| - |M|) with the detections D above a score, the persons G and a largest matching M
between them; the mean over images, at the best of the scores 0, 0.1, ... 0.9. Source: Chu et al., CVPR 2020, eq. 8.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from c2o_evidence.detections import Detections

MR, JI = "MR", "JI"
OVERLAP = 0.5
FALSE_POSITIVES = np.logspace(-2, 0, 9)  # an image
SCORES = tuple(float(np.float32(step / 10)) for step in range(10))  # as scores are stored
LEAST = 1e-10  # stands for a miss rate of zero, whose logarithm is none

_Floats = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Scene:
    """An image: overlap of its n detections, best score first, with its m persons, and which of them may be ignored."""

    place: npt.NDArray[np.int64]  # [n], among all detections
    score: _Floats  # [n]
    iou: _Floats  # [n, m]
    aside: _Flags  # [n]


def crowd_metrics(document: Mapping[str, Any], detections: Detections, class_names: Sequence[str]) -> dict[str, float]:
    """MR and JI, 0-100, each the mean over classes with ground truth; nan without any.

    Args:
        document: a COCO annotation document whose categories have the names; crowd regions are to be ignored.
        detections: labels index `class_names`. Equal scores keep the order given.
    """
    ids = {item["name"]: item["id"] for item in document["categories"]}
    found: dict[str, list[float]] = {MR: [], JI: []}
    for label, name in enumerate(class_names):
        scenes = _scenes(document, ids[name], detections, label)
        if any(scene.iou.shape[1] for scene in scenes):
            found[MR].append(100.0 * miss_rate(scenes))
            found[JI].append(100.0 * max(jaccard(scenes, score) for score in SCORES))
    return {name: math.fsum(values) / len(values) if values else math.nan for name, values in found.items()}


def miss_rate(scenes: Sequence[_Scene]) -> float:
    """MR of one class, 0..1."""
    places, scores, hits = [], [], []
    for scene in scenes:
        hit = _greedy(scene.iou)
        counts = hit | ~scene.aside
        places.append(scene.place[counts])
        scores.append(scene.score[counts])
        hits.append(hit[counts])
    order = np.lexsort((np.concatenate(places), -np.concatenate(scores)))
    true = np.concatenate(hits)[order]
    persons = sum(scene.iou.shape[1] for scene in scenes)
    false_per_image = np.concatenate([[0.0], np.cumsum(~true) / len(scenes)])
    missed = np.concatenate([[1.0], 1.0 - np.cumsum(true) / persons])
    # the last place where there are not yet too many
    last = np.searchsorted(false_per_image, FALSE_POSITIVES * (1 + 1e-12), side="right") - 1
    return float(np.exp(np.log(np.maximum(missed[last], LEAST)).mean()))


def jaccard(scenes: Sequence[_Scene], score: float) -> float:
    """Mean Jaccard index of one class with the detections of at least that score, over images that hold anything."""
    values = []
    for scene in scenes:
        above = scene.score >= score
        iou, aside = scene.iou[above], scene.aside[above]
        matched = np.zeros(len(iou), bool)
        if iou.size:
            matched = maximum_bipartite_matching(csr_matrix(iou >= OVERLAP), perm_type="column") >= 0
        size = int((matched | ~aside).sum()) + iou.shape[1] - int(matched.sum())
        if size:
            values.append(float(matched.sum()) / size)
    return math.fsum(values) / len(values) if values else 0.0


def _greedy(iou: _Floats) -> _Flags:
    """[n]: whether each detection, in order, finds a free person; it takes the one that it overlaps most."""
    free = np.ones(iou.shape[1], bool)
    hit = np.zeros(len(iou), bool)
    for index in np.flatnonzero((iou >= OVERLAP).any(axis=1)).tolist():
        left = np.where(free, iou[index], -1.0)
        best = int(left.argmax())
        if left[best] >= OVERLAP:
            free[best], hit[index] = False, True
    return hit


def _scenes(document: Mapping[str, Any], category: int, detections: Detections, label: int) -> list[_Scene]:
    persons: dict[int, list[list[float]]] = {item["id"]: [] for item in document["images"]}
    regions: dict[int, list[list[float]]] = {item["id"]: [] for item in document["images"]}
    for item in document["annotations"]:
        x, y, w, h = item["bbox"]
        if item["category_id"] == category:
            (regions if item.get("iscrowd") else persons)[item["image_id"]].append([x, y, x + w, y + h])
    mine = np.flatnonzero(detections.label == label)
    mine = mine[np.argsort(-detections.score[mine], kind="stable")]
    mine = mine[np.argsort(detections.image_id[mine], kind="stable")]
    images = detections.image_id[mine]
    scenes = []
    for image in persons:
        chosen = mine[np.searchsorted(images, image, "left") : np.searchsorted(images, image, "right")]
        box = detections.box[chosen].astype(np.float64)
        own = _area(box)[:, None]
        known, ignored = (np.asarray(boxes[image], np.float64).reshape(-1, 4) for boxes in (persons, regions))
        inter = _intersection(box, known)
        iou = _share(inter, own + _area(known)[None] - inter)
        aside = np.any(_share(_intersection(box, ignored), own) >= OVERLAP, axis=1).reshape(-1)
        scenes.append(_Scene(chosen, detections.score[chosen].astype(np.float64), iou, aside))
    return scenes


def _area(box: _Floats) -> _Floats:
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def _intersection(boxes: _Floats, others: _Floats) -> _Floats:
    """[n, m] areas that boxes [n, 4] share with others [m, 4], x1 y1 x2 y2."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    areas: _Floats = sides.clip(min=0).prod(axis=2)
    return areas


def _share(part: _Floats, whole: _Floats) -> _Floats:
    """part / whole, 0 where the whole is nothing."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
