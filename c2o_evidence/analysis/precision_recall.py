"""Precision over recall of one run, mean over classes, as COCO's evaluation has it.

`COCOeval.eval["precision"]` at one IoU has, for each class and each recall r = 0, 0.01, ... 1, the highest precision at
a recall of at least r (0 where the class does not get there); its mean over recalls and classes is AP at that IoU. The
mean over classes that have objects is kept, at every second recall.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence

import numpy as np

from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth, _as_coco, _index

IOUS = (0.5, 0.75)
RECALLS = tuple(step / 50 for step in range(51))


def precision_curves(
    truth: GroundTruth, detections: Detections, class_names: Sequence[str]
) -> dict[float, tuple[float, ...]]:
    """Precision 0..1 at each of RECALLS, by IoU of IOUS; nan where no class has an object.

    Raises:
        TableError: the annotation file does not know a class or an image of the detections.
    """
    from pycocotools.cocoeval import COCOeval

    coco = truth._coco
    ids = truth._category_ids(class_names, detections)
    results = _index(coco.dataset["images"], coco.dataset["categories"], _as_coco(detections, ids))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.params.iouThrs = np.array(IOUS)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.params.catIds = sorted(ids)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, ::2, :, 0, 0]  # [IoU, recall, class]; -1 where it has no object
    defined = (precision > -1).all(axis=(0, 1))
    curves = {}
    for index, iou in enumerate(IOUS):
        values = precision[index][:, defined]
        curves[iou] = tuple(
            math.fsum(row) / len(row) if len(row) else math.nan for row in values.astype(np.float64).tolist()
        )
    return curves
