"""AP as COCO defines it, by pycocotools: IoU 0.50:0.05:0.95, areas s/m/l, 100 detections an image."""

import contextlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from c2o_evidence.detections import Detections
from c2o_evidence.errors import TableError
from c2o_evidence.voc07 import voc07_ap

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
OF_SOME_SETS = {"AP_voc07": "AP VOC07", "MR": "MR", "JI": "JI"}
"""Metrics that sets of one kind have too (voc07.py, crowd.py), with their headings in tables."""
_STATS = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5}


class GroundTruth:
    """A COCO annotation file, indexed once for the evaluation of many runs.

    Attributes:
        source: how messages call it.
        class_names: names of its categories, by ascending category id.
        images: ids of its images.
        voc: whether its objects are marked difficult or not, as in VOC: AP_voc07 is computed too.
        crowd: whether its `info` asks for crowd metrics, as that of CrowdHuman does: MR and JI are computed too.
    """

    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        """Index an annotation document; a missing `area` is w * h, a missing `iscrowd` 0.

        Raises:
            TableError: a part is missing, an id is there twice, or an annotation names an unknown image or
                category.
        """
        self.source = source
        for key in ("images", "annotations", "categories"):
            if not isinstance(document.get(key), list):
                raise TableError(f"{source}: {key}: is missing or not a list; this is no COCO annotation file")
        try:
            self._category = {item["name"]: item["id"] for item in document["categories"]}
            self.images = frozenset(item["id"] for item in document["images"])
            annotations = [_annotation(item, index) for index, item in enumerate(document["annotations"])]
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"{source}: an entry is malformed ({error!r}); correct the annotation file") from None
        categories = sorted(document["categories"], key=lambda item: item["id"])
        self.class_names = tuple(str(item["name"]) for item in categories)
        ids = set(self._category.values())
        if len(ids) != len(document["categories"]) or len(self.images) != len(document["images"]):
            raise TableError(f"{source}: a category or image is there twice; correct the annotation file")
        for item in annotations:
            if item["image_id"] not in self.images or item["category_id"] not in ids:
                raise TableError(f"{source}: annotation {item['id']} names an unknown image or category; correct it")
        self.voc = any("difficult" in item for item in document["annotations"])
        info = document.get("info")
        self.crowd = isinstance(info, dict) and info.get("metrics") == "crowd"
        self._document = document
        self._coco = _index(document["images"], document["categories"], annotations)

    @classmethod
    def load(cls, path: Path | str) -> "GroundTruth":
        """Read an annotation file.

        Raises:
            TableError: it cannot be read, is not JSON, or as the constructor.
        """
        try:
            document = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise TableError(f"{path}: cannot be read: {error.strerror}; restore the annotation file") from error
        except (ValueError, RecursionError) as error:
            raise TableError(f"{path}: is not JSON: {error}; restore the annotation file") from None
        if not isinstance(document, dict):
            raise TableError(f"{path}: is not a mapping; this is no COCO annotation file")
        return cls(document, str(path))

    def evaluate(self, detections: Detections, class_names: Sequence[str] | None = None) -> dict[str, float]:
        """See `coco_metrics`."""
        names = tuple(class_names) if class_names is not None else self.class_names
        category_ids = self._category_ids(names, detections)
        from pycocotools.cocoeval import COCOeval

        results = _index(
            self._coco.dataset["images"], self._coco.dataset["categories"], _as_coco(detections, category_ids)
        )
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._coco, results, "bbox")
            evaluation.params.maxDets = [1, 10, 100]
            evaluation.params.catIds = sorted(self._category[name] for name in names)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        metrics = {name: _percent(evaluation.stats[index]) for name, index in _STATS.items()}
        # precision: [IoU threshold, recall, category, area (0: all), maxDets (2: 100)]
        precision = evaluation.eval["precision"][:, :, :, 0, 2]
        by_id = {category: precision[:, :, index] for index, category in enumerate(evaluation.params.catIds)}
        for name in names:
            values = by_id[self._category[name]]
            defined = values[values > -1]
            metrics[f"AP-{name}"] = _percent(float(np.mean(defined)) if defined.size else -1.0)
        if self.voc:
            metrics |= voc07_ap(self._document, detections, names)
        if self.crowd:
            from c2o_evidence.crowd import crowd_metrics  # SciPy, which is not loaded for other sets

            metrics |= crowd_metrics(self._document, detections, names)
        return metrics

    def _category_ids(self, names: Sequence[str], detections: Detections) -> list[int]:
        """Category id of each label; refuses what the annotation file does not know."""
        if len(set(names)) != len(names):
            raise TableError(f"{self.source}: class names {list(names)} hold a name twice; correct them")
        for name in names:
            if name not in self._category:
                raise TableError(f"{self.source}: categories: {name!r} is a class of the model but not a category here")
        if len(detections):
            if int(detections.label.max()) >= len(names):
                raise TableError(
                    f"{self.source}: label {int(detections.label.max())} has no name, there are {len(names)}"
                )
            strange = set(np.unique(detections.image_id).tolist()) - self.images
            if strange:
                raise TableError(
                    f"{self.source}: images: {min(strange)} was detected on but is not there; wrong split?"
                )
        return [self._category[name] for name in names]


def coco_metrics(
    gt: Path | str | GroundTruth, detections: Detections, class_names: Sequence[str] | None = None
) -> dict[str, float]:
    """AP of one run, 0-100; undefined (no ground truth of that class or size) is nan.

    Args:
        gt: annotation file, or one indexed already (much faster for many runs).
        detections: labels index `class_names`. Equal scores keep the order given, as in pycocotools.
        class_names: category names in label order; default: the file's categories by ascending id.

    Returns:
        AP, AP50, AP75, APs, APm, APl, then `AP-<class>` in label order (and `OF_SOME_SETS`). AP is the
        mean over classes that
        have ground truth (not marked crowd); at most 100 detections an image and class count.

    Raises:
        TableError: the annotation file is unusable, or does not know a class or an image of the detections.
    """
    truth = gt if isinstance(gt, GroundTruth) else GroundTruth.load(gt)
    return truth.evaluate(detections, class_names)


def _annotation(item: Mapping[str, Any], index: int) -> dict[str, Any]:
    x, y, width, height = (float(value) for value in item["bbox"])
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise ValueError(f"bbox {item['bbox']} is not finite")
    return {
        # COCOeval takes id 0 for "no match", so ids are counted from 1 whatever the file says.
        "id": index + 1,
        "image_id": item["image_id"],
        "category_id": item["category_id"],
        "bbox": [x, y, width, height],
        "area": float(item.get("area", width * height)),
        "iscrowd": int(item.get("iscrowd", 0)),
    }


def _as_coco(detections: Detections, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """COCO result entries; corners are float32, sizes are computed in float64."""
    boxes = detections.box.astype(np.float64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": category_ids[label],
            "bbox": [x, y, width, height],
            "area": width * height,
            "iscrowd": 0,
            "score": score,
        }
        for number, (image, label, (x, y), (width, height), score) in enumerate(
            zip(
                detections.image_id.tolist(),
                detections.label.tolist(),
                boxes[:, :2].tolist(),
                sizes.tolist(),
                detections.score.tolist(),
                strict=True,
            ),
            start=1,
        )
    ]


def _index(images: Sequence[Any], categories: Sequence[Any], annotations: Sequence[Any]) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _percent(value: float) -> float:
    return math.nan if value < 0 else 100.0 * float(value)
