"""CONSISTENCY_DISTILL: the student says of a noisy graph what its frozen teacher says of the same one.

Both see one training step's noisy boxes, label states and times: the nodes that the student's set losses use anyway,
so the student's forward pass is not repeated and the teacher's costs one pass without gradient. Node i of both is the
same box, nothing is matched, and all N nodes count, background too.

With S student stages, every one of which imitates the teacher's last (as every stage learns from ground truth; only
the last one without DEEP_SUPERVISION), B images, N nodes, K classes and T the temperature::

    loss_consistency_bbox = BOX_WEIGHT * L1_WEIGHT   * sum_s mean_bn |b_s - b'| / (w, h, w, h)
    loss_consistency_giou = BOX_WEIGHT * GIOU_WEIGHT * sum_s mean_bn (1 - GIoU(b_s, b'))
    loss_consistency_ce   = CLS_WEIGHT * T^2         * sum_s mean_bn sum_k BCE(sigma(z_s / T), sigma(z' / T))

Called by the training loop. Sources: model.md, "Distillation"; soft targets (arXiv 1503.02531, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2o_model.config import ConfigError
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.losses import distill_losses
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws, make_noisy_nodes
from c2o_model.training.teacher import freeze, shares_features, teacher_features


class ConsistencyDistillation:
    """Adds the consistency losses of one batch to a student's own.

    Args:
        teacher: frozen detector in evaluation mode, of the student's classes, diffusion and SNR_SCALE. A teacher
            without label states ignores the student's; one with them sees "all unknown" from a student without.
        student: the detector being trained; its settings give weights and temperature.

    Raises:
        ConfigError: the teacher's noise is not the student's.
    """

    def __init__(self, teacher: DiffusionDet, student: DiffusionDet) -> None:
        ours, theirs = student.settings, teacher.settings
        for name, mine, other in (
            ("NUM_CLASSES", ours.head.num_classes, theirs.head.num_classes),
            ("DIFFUSION_TIMESTEPS", ours.diffusion.diffusion_timesteps, theirs.diffusion.diffusion_timesteps),
            ("SNR_SCALE", ours.diffusion.snr_scale, theirs.diffusion.snr_scale),
        ):
            if mine != other:
                raise ConfigError(
                    f"MODEL.DiffusionDet.{name}: {mine}, but the teacher of CONSISTENCY_DISTILL has {other}; "
                    "both must see the same noisy nodes"
                )
        self.teacher = freeze(teacher)
        self.student = student
        self.settings = ours.consistency
        self.shares_features = shares_features(teacher, student)

    def losses(
        self, batch: TrainingBatch, draws: TrainingDraws, features: Sequence[Tensor], out: HeadOutput
    ) -> dict[str, Tensor]:
        """Consistency losses by name, weighted; one of weight 0 is left out.

        Args:
            draws: as given to the student's own losses; they decide the noisy nodes.
            features: the student's pyramid, used for the teacher too when both backbones are equal and frozen.
            out: what the student's head said of these nodes.
        """
        s, loss = self.settings, self.student.settings.loss
        seen = features if self.shares_features else teacher_features(self.teacher, batch.images, batch.canvas)
        ours = self.student.settings
        nodes = make_noisy_nodes(
            batch, draws, self.student.schedule, ours.diffusion.snr_scale, self.student.label_process, ours.aniso
        )
        with torch.no_grad():
            target = self.teacher.head(seen, nodes.boxes, nodes.t, batch.whwh, nodes.label_state)
        first = 0 if loss.deep_supervision else out.logits.shape[0] - 1
        logits, boxes = out.logits[first:], out.boxes[first:]
        stages = logits.shape[0]
        values = distill_losses(
            logits.flatten(0, 1),
            boxes.flatten(0, 1),
            target.logits[-1].repeat(stages, 1, 1),
            target.boxes[-1].repeat(stages, 1, 1),
            topk=0,
            image_whwh=batch.whwh.repeat(stages, 1),
            l1_weight=s.consistency_distill_box_weight * loss.l1_weight,
            giou_weight=s.consistency_distill_box_weight * loss.giou_weight,
            cls_weight=s.consistency_distill_cls_weight,
            temperature=s.consistency_distill_temperature,
        )
        return {name.replace("distill", "consistency"): stages * value for name, value in values.items()}
