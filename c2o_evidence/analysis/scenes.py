"""Detections and ground truth of one image side by side, and who takes whom: the matching of COCO's evaluation.

Detections go in the order of scores (equal ones in the order given), at most MAX_DETECTIONS of an image and class.
Each takes, of the objects that it may take and that are free, the one with the highest IoU of at least the threshold,
the last of equal ones. One that finds none but lies in a crowd region (`iscrowd`) of its class is neither right nor
wrong; a region is never used up, and IoU with it is the share of the detection that it covers.
Source: `COCOeval.evaluateImg` of pycocotools, whose IoU is used here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth

MAX_DETECTIONS = 100  # of an image and class
NOBODY = -1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image: `d` detections by descending score, `g` objects and crowd regions.

    Attributes:
        place: [d], which detection of the run each is.
        found: [d], their labels. score: [d].
        truth: [g], labels of the objects. crowd: [g], whether one is a region to be ignored.
        iou: [d, g]; with a region, the share of the detection inside it.
    """

    place: Ints
    found: Ints
    score: npt.NDArray[np.float32]
    truth: Ints
    crowd: Bools
    iou: Floats

    def best(self, keep: Bools) -> Scene:
        """The scene with the detections of `keep` [d] alone."""
        return Scene(self.place[keep], self.found[keep], self.score[keep], self.truth, self.crowd, self.iou[keep])


def best_of_run(scenes: Sequence[Scene], most: int) -> list[Bools]:
    """Which detections [d] of each image are among the `most` best of the run; equal scores in the order of the run.

    With as many as there are objects no score is a threshold, so rows whose scores mean different things (a quality
    head multiplies into them) can be compared.
    """
    if not scenes:
        return []
    score, place = (np.concatenate([getattr(scene, name) for scene in scenes]) for name in ("score", "place"))
    keep = np.zeros(len(score), bool)
    keep[np.lexsort((place, -score))[:most]] = True
    return np.split(keep, np.cumsum([len(scene.score) for scene in scenes])[:-1])


class Scenes:
    """The ground truth of all images, indexed once for many runs.

    Args:
        class_names: the classes in label order; objects of other categories are not looked at, as in AP.
    """

    def __init__(self, truth: GroundTruth, class_names: Sequence[str]) -> None:
        # Of the file as COCO's evaluation has it. metrics.py decides results, so nothing is added there for others.
        dataset: dict[str, Any] = truth._coco.dataset
        ids = {item["name"]: item["id"] for item in dataset["categories"]}
        label = {ids[name]: number for number, name in enumerate(class_names)}
        objects: dict[int, list[dict[str, Any]]] = {item["id"]: [] for item in dataset["images"]}
        for item in dataset["annotations"]:
            if item["category_id"] in label:
                objects[item["image_id"]].append(item)
        self.n_images = len(objects)
        self._boxes = {
            image: np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
            for image, items in objects.items()
        }
        self._labels = {
            image: np.array([label[item["category_id"]] for item in items], np.int64)
            for image, items in objects.items()
        }
        self._crowd = {image: np.array([item["iscrowd"] for item in items], bool) for image, items in objects.items()}
        self.n_objects = sum(int((~crowd).sum()) for crowd in self._crowd.values())

    def of(self, detections: Detections) -> Iterator[Scene]:
        """The scene of every image, one without detections too, by ascending id."""
        order = np.lexsort((np.arange(len(detections)), -detections.score, detections.image_id))
        order = order[_rank(detections, order) < MAX_DETECTIONS]
        images = detections.image_id[order]
        boxes = detections.box[order].astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        labels, scores = detections.label[order], detections.score[order]
        for image in sorted(self._boxes):
            start, end = np.searchsorted(images, (image, image + 1)).tolist()
            truth, crowd = self._labels[image], self._crowd[image]
            iou = _iou(boxes[start:end], self._boxes[image], crowd)
            yield Scene(order[start:end], labels[start:end], scores[start:end], truth, crowd, iou)


def _rank(detections: Detections, order: Ints) -> Ints:
    """How many detections of its image and class come before each one, in `order`, which groups images."""
    image, label = detections.image_id[order], detections.label[order]
    by_class = np.lexsort((np.arange(len(order)), label, image))
    pairs = np.stack([image[by_class], label[by_class]])
    new = np.ones(len(order), bool)
    new[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    begins = np.flatnonzero(new)
    rank = np.empty(len(order), np.int64)
    rank[by_class] = np.arange(len(order)) - begins[np.cumsum(new) - 1]
    return rank


def _iou(found: Floats, truth: Floats, crowd: Bools) -> Floats:
    """[d, g] of boxes given as x, y, width, height."""
    from pycocotools import mask

    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return np.asarray(mask.iou(found, truth, crowd.astype(np.uint8)), np.float64).reshape(len(found), len(truth))


def match(scene: Scene, least: float, *, same_class: bool) -> list[int]:
    """[d], the object or crowd region that each detection takes; NOBODY for one that takes none.

    Args:
        least: IoU.
        same_class: whether only objects of a detection's own class may be taken. A crowd region always has its class.
    """
    truth, crowd, iou = scene.truth.tolist(), scene.crowd.tolist(), scene.iou.tolist()
    free = [not region for region in crowd]
    taken = []
    for label, overlaps in zip(scene.found.tolist(), iou, strict=True):
        best, most = NOBODY, least
        for index, overlap in enumerate(overlaps):
            if overlap >= most and free[index] and (not same_class or truth[index] == label):
                best, most = index, overlap
        if best == NOBODY:
            for index, overlap in enumerate(overlaps):
                if overlap >= most and crowd[index] and truth[index] == label:
                    best, most = index, overlap
        else:
            free[best] = False
        taken.append(best)
    return taken
