"""SAMPLER_DISTILL: a student learns to reach in one step, or a few, where its teacher's sampler ends.

The teacher (frozen) runs TEACHER_SAMPLE_STEP DDIM steps from the student's own noise, with TEACHER_ETA and without
renewal, so node i of both started from the same box. The student matches the teacher's boxes (L1 + GIoU) and, weighted,
its classes on the TOPK nodes by teacher score. The set prediction losses of plain training stay on beside it.

STUDENT_SAMPLE_STEP k > 1 runs the student's own sampler, k DDIM steps with eta 0 and without renewal, and all k steps
are part of the gradient. All stages of the last step imitate the teacher's end. Earlier steps are reached through
what they hand on, x_s: its boxes enter the last step's first stage (each later stage starts from detached boxes, and
RoI features give no gradient to boxes), GEO_FEAT of every stage that reads them, and its label distribution through
the label embedding (not a hard state). A coordinate that the sampler clamps passes no gradient on. Progressive
distillation chains such students: 20 -> 4, then 4 -> 2 with the first student as the teacher, then 2 -> 1.

Called by the training loop. Sources: model.md, "Distillation"; progressive distillation (arXiv 2202.00512).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2o_model.diffusion.anisotropy import shape_noise
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.losses import distill_losses
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws
from c2o_model.sampling.sampler import run_aligned, run_teacher
from c2o_model.training.teacher import freeze, shares_features, teacher_features


class SamplerDistillation:
    """Adds the distillation losses of one batch to a student's own.

    Args:
        teacher: frozen detector in evaluation mode.
        student: the detector being trained; its settings give steps, weights and TOPK.
    """

    def __init__(self, teacher: DiffusionDet, student: DiffusionDet) -> None:
        self.teacher = freeze(teacher)
        self.student = student
        self.settings = student.settings.distill
        self.shares_features = shares_features(teacher, student)

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
            keys: key the step noise, which only TEACHER_ETA > 0 and hard label states need.

        With SAMPLER_DISTILL_IMAGES > 0 only that many images of the batch are distilled: the teacher's steps are
        most of the cost.
        """
        s = self.settings
        count = s.sampler_distill_images or batch.whwh.shape[0]
        whwh, start = batch.whwh[:count], shape_noise(draws.start[:count], self.student.settings.aniso)
        features = [f[:count] for f in features]
        seen = features
        if not self.shares_features:
            seen = teacher_features(self.teacher, batch.images[:count], batch.canvas)
        target = run_teacher(
            self.teacher,
            seen,
            whwh,
            start,
            s.sampler_distill_teacher_sample_step,
            s.sampler_distill_teacher_eta,
            keys[:count],
        )
        out = self._student(features, whwh, start, keys[:count])
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

    def _student(
        self, features: Sequence[Tensor], whwh: Tensor, start: Tensor, keys: Sequence[tuple[int, int, int]]
    ) -> HeadOutput:
        """What the student says at the end of its steps from ``start``, all stages, with gradient."""
        steps = self.settings.sampler_distill_student_sample_step
        if steps > 1 or isinstance(self.student.label_process, GaussianLabels):  # these start from noise as well
            return run_aligned(self.student, features, whwh, start, steps, 0.0, keys)
        last = self.student.schedule.timesteps - 1
        boxes = cxcywh_to_xyxy(decode(start, self.student.settings.diffusion.snr_scale)) * whwh[:, None]
        return self.student.head(features, boxes, torch.full((len(start),), last, device=whwh.device), whwh)
