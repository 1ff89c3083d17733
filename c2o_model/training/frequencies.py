"""Class frequencies of a training set, for USE_FED_LOSS: in how many images each class appears.

Counted from the annotations that are trained on (LVIS carries the same number as ``image_count``). Called by the
training loop. Source: model.md; Detic (arXiv 2201.02605).
"""

from __future__ import annotations

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from c2o_model.data.coco import CocoSplit
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.federated import FederatedClasses


def image_counts(split: CocoSplit) -> Tensor:
    """The number of images that show each class at least once, int64 [K]."""
    counts = np.zeros(len(split.class_names), dtype=np.int64)
    for labels in split.labels:
        counts[np.unique(labels)] += 1
    return torch.from_numpy(counts)


def set_class_frequencies(cfg: CfgNode, model: nn.Module, split: CocoSplit) -> None:
    """Tell a detector with USE_FED_LOSS how often each class is seen; nothing for any other model.

    Uses Detectron2's MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES and FED_LOSS_FREQ_WEIGHT_POWER.
    """
    if isinstance(model, DiffusionDet) and cfg.MODEL.DiffusionDet.USE_FED_LOSS:
        box_head = cfg.MODEL.ROI_BOX_HEAD
        weights = image_counts(split).double().pow(box_head.FED_LOSS_FREQ_WEIGHT_POWER)
        weights[image_counts(split) == 0] = 0  # also with power 0
        model.federated = FederatedClasses(weights, box_head.FED_LOSS_NUM_CLASSES)
