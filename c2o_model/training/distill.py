"""SAMPLER_DISTILL: a student learns to reach in one step where its teacher's sampler ends.

The teacher (frozen) runs TEACHER_SAMPLE_STEP DDIM steps from the student's own noise, with TEACHER_ETA and without
renewal, so node i of both started from the same box. The student matches the teacher's boxes (L1 + GIoU) and, weighted,
its classes on the TOPK nodes by teacher score. The set prediction losses of plain training stay on beside it.

Called by the training loop. Sources: model.md, "Distillation"; progressive distillation (arXiv 2202.00512).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.losses import distill_losses
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws
from c2o_model.sampling.sampler import run_teacher


class SamplerDistillation:
    """Adds the distillation losses of one batch to a student's own.

    Args:
        teacher: frozen detector in evaluation mode.
        student: the detector being trained; its settings give steps, weights and TOPK.
    """

    def __init__(self, teacher: DiffusionDet, student: DiffusionDet) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = student
        self.settings = student.settings.distill
        self.shares_features = student.freeze_backbone and _same_weights(teacher.backbone, student.backbone)

    def losses(
        self,
        batch: TrainingBatch,
        draws: TrainingDraws,
        features: Sequence[Tensor],
        keys: Sequence[tuple[int, int, int]],
    ) -> dict[str, Tensor]:
        """Distillation losses by name, weighted.

        Args:
            features: the student's pyramid of the batch. Used for the teacher too when both backbones are equal and
                frozen.
            keys: key the teacher's step noise, which only TEACHER_ETA > 0 needs.

        With SAMPLER_DISTILL_IMAGES > 0 only that many images of the batch are distilled: the teacher's steps are
        most of the cost.
        """
        s = self.settings
        count = s.sampler_distill_images or batch.whwh.shape[0]
        whwh, start = batch.whwh[:count], draws.start[:count]
        features = [f[:count] for f in features]
        seen = features
        if not self.shares_features:
            with torch.no_grad():
                seen = self.teacher.features(batch.images[:count], batch.canvas)
        target = run_teacher(
            self.teacher,
            seen,
            whwh,
            start,
            s.sampler_distill_teacher_sample_step,
            s.sampler_distill_teacher_eta,
            keys[:count],
        )
        first = self.student.schedule.timesteps - 1
        boxes = cxcywh_to_xyxy(decode(start, self.student.settings.diffusion.snr_scale)) * whwh[:, None]
        out = self.student.head(features, boxes, torch.full((count,), first, device=whwh.device), whwh)
        stages = out.logits.shape[0]
        values = distill_losses(
            out.logits.flatten(0, 1),  # every stage imitates the teacher's end, as every stage learns from ground truth
            out.boxes.flatten(0, 1),
            target.logits.repeat(stages, 1, 1),
            target.boxes.repeat(stages, 1, 1),
            topk=s.sampler_distill_topk,
            image_whwh=whwh.repeat(stages, 1),
            l1_weight=s.sampler_distill_box_weight * self.student.settings.loss.l1_weight,
            giou_weight=s.sampler_distill_box_weight * self.student.settings.loss.giou_weight,
            cls_weight=s.sampler_distill_cls_weight,
            temperature=s.sampler_distill_temperature,
        )
        return {name: s.sampler_distill_weight * stages * value for name, value in values.items()}


def _same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
