"""AP of one run, printed the way Detectron2 users know it: through Detectron2's own COCO evaluation API (pycocotools).

Only for ``train_net --eval-only``. The published numbers are computed from stored detections by
``c2o_evidence.metrics``; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from c2o_model.data.coco import CocoSplit
from c2o_model.evaluation.run import RunDetections


def coco_results(split: CocoSplit, run: RunDetections) -> list[dict[str, Any]]:
    """Detections in COCO's results format: xywh boxes, the file's own category ids."""
    return [
        {
            "image_id": int(image_id),
            "category_id": split.category_ids[int(label)],
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "score": float(score),
        }
        for image_id, box, score, label in zip(run.image_id, run.box, run.score, run.label, strict=True)
    ]


def print_ap(split: CocoSplit, run: RunDetections) -> float:
    """Print COCO's twelve lines; returns AP on the 0-100 scale (nan without a single detection)."""
    results = coco_results(split, run)
    if not results:
        print("no detections")
        return float("nan")
    truth = COCO(str(split.annotation))
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]) * 100
