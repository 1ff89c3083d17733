"""What both kinds of distillation share: a frozen teacher that sees the student's images.

Called by :mod:`c2o_model.training.distill` and :mod:`c2o_model.training.consistency`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2o_model.modeling.detector import DiffusionDet


def freeze(teacher: DiffusionDet) -> DiffusionDet:
    """The teacher in evaluation mode, without gradients (in place)."""
    return teacher.eval().requires_grad_(False)


def shares_features(teacher: DiffusionDet, student: DiffusionDet) -> bool:
    """True when the student's pyramid is the teacher's too: a frozen backbone of the same weights."""
    if not student.freeze_backbone:
        return False
    first, second = teacher.backbone.state_dict(), student.backbone.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@torch.no_grad()
def teacher_features(
    teacher: DiffusionDet, images: Tensor | Sequence[Tensor], canvas: tuple[int, int] = (0, 0)
) -> list[Tensor]:
    """The teacher's own pyramid of the images, without gradient."""
    return teacher.features(images, canvas)
