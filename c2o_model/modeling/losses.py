"""The losses of detection, quality and distillation, vectorised over stages and images.

Shapes: S stages, B images, N nodes, K classes, G object slots. Boxes are xyxy in pixels. Every loss is
float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.divisors import over_batch
from c2o_model.modeling.box_weights import box_weights, weight_sums
from c2o_model.modeling.class_losses import quality_focal_loss, softmax_loss
from c2o_model.modeling.matcher import Match
from c2o_model.settings import LossSwitches

AREA_EPS = 1e-7
QUALITY_KINDS = ("bce", "l1", "mse")
PLAIN = LossSwitches()


@dataclass(frozen=True)
class LossWeights:
    """Factors of the three detection losses, and the two parameters of the focal loss."""

    cls: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss an element (arXiv 1708.02002, eq. 5): logits and targets in [0, 1] of one shape.

    -alpha_t (1 - p_t)^gamma log(p_t), with p_t = p and alpha_t = alpha at target 1, 1 - p and 1 - alpha at 0.
    """
    p = logits.sigmoid()
    wrong = p + targets - 2 * p * targets  # 1 - p_t
    weight = (2 * alpha - 1) * targets + (1 - alpha)  # alpha_t
    return weight * wrong.pow(gamma) * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - GIoU of boxes paired by position (arXiv 1902.09630): [..., 4] and [..., 4] -> [...], in [0, 2]."""
    low_a, high_a, low_b, high_b = boxes[..., :2], boxes[..., 2:], targets[..., :2], targets[..., 2:]
    inter = _area((torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0))
    hull = _area(torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b))
    union = _area(high_a - low_a) + _area(high_b - low_b) - inter
    return 1 - inter / (union + AREA_EPS) + (hull - union) / (hull + AREA_EPS)


def matched_counts(match: Match, stages: int) -> Tensor:
    """How many nodes of the global batch are matched, per stage, at least 1: float32 [S], of a match [S*B, N]."""
    return over_batch(match.matched.view(stages, -1).sum(dim=1).float()).clamp(min=1)


def detection_losses(
    logits: Tensor,
    boxes: Tensor,
    match: Match,
    gt_labels: Tensor,
    gt_boxes: Tensor,
    image_whwh: Tensor,
    weights: LossWeights,
    counts: Tensor | None = None,
    switches: LossSwitches = PLAIN,
    taking_part: Tensor | None = None,
    box_sums: Tensor | None = None,
) -> dict[str, Tensor]:
    """Weighted class, box and GIoU loss of every stage (DiffusionDet sec. 3.3, deep supervision as in DETR).

    Args:
        logits: [S, B, N, K]; all nodes count, an unmatched one as background of every class. With softmax
            [S, B, N, K+1], background last.
        boxes: [S, B, N, 4]; matched nodes count. L1 is taken on boxes divided by the image size, GIoU in
            pixels.
        match: of the S*B images, stage-major: gt_index [S*B, N].
        gt_labels: int64 [B, G].
        gt_boxes: [B, G, 4].
        image_whwh: [B, 4].
        counts: [S], the divisor of each stage; default `matched_counts`.
        switches: other forms of the loss.
        taking_part: bool [K], the classes in the federated loss; None for all.
        box_sums: [S], the divisor of the box losses where BOX_LOSS_IOU_WEIGHT_POWER weighs them; default the sum of
            the weights.

    Returns scalars `loss_ce`, `loss_bbox`, `loss_giou` for the last stage and, with the suffix `_0` ..
    `_{S-2}`, for the earlier ones.
    """
    stages, batch, nodes, classes = logits.shape
    classes -= not switches.use_focal
    if counts is None:
        counts = matched_counts(match, stages)
    gt_index = match.gt_index.view(stages, batch, nodes)
    matched = gt_index >= 0
    target_labels, target_boxes = _targets(gt_index, gt_labels, gt_boxes.float())
    # One extra class takes the unmatched nodes and is cut off again.
    column = torch.where(matched, target_labels, classes)
    if not switches.use_focal:
        class_loss = softmax_loss(logits.float(), column, switches.no_object_weight)
    else:
        onehot = torch.zeros(stages, batch, nodes, classes + 1, device=logits.device).scatter_(
            3, column[..., None], 1.0
        )
        if switches.cls_loss_type == "qfl":
            targets = onehot[..., :classes] * match.iou.view(stages, batch, nodes, 1)
            ce = quality_focal_loss(logits.float(), targets, switches.qfl_beta)
        else:
            ce = focal_loss(logits.float(), onehot[..., :classes], weights.alpha, weights.gamma)
        if taking_part is not None:
            ce = ce * taking_part
        class_loss = ce.sum(dim=(1, 2, 3)) / counts

    # An unmatched node is compared with itself, as a constant: loss and gradient are exactly 0, with no
    # boolean indexing (which would wait for the GPU). The sides are large so that AREA_EPS vanishes in
    # rounding.
    idle = boxes.new_tensor([0.0, 0.0, 1024.0, 1024.0], dtype=torch.float32)
    paired = matched[..., None]
    source = torch.where(paired, boxes.float(), idle)
    target = torch.where(paired, target_boxes, idle)
    whwh = image_whwh.float()[:, None]
    l1 = (source / whwh - target / whwh).abs()
    giou = giou_loss(source, target)
    if switches.box_loss_iou_weight_power:
        fit = box_weights(match, switches.box_loss_iou_weight_power, switches.box_loss_iou_weight_floor)
        counts = weight_sums(fit, stages) if box_sums is None else box_sums
        l1, giou = l1 * fit.view(stages, batch, nodes, 1), giou * fit.view(stages, batch, nodes)

    losses = {
        "loss_ce": weights.cls * class_loss,
        "loss_bbox": weights.l1 * l1.sum(dim=(1, 2, 3)) / counts,
        "loss_giou": weights.giou * giou.sum(dim=(1, 2)) / counts,
    }
    named: dict[str, Tensor] = {}
    for name, per_stage in losses.items():
        for stage, loss in enumerate(per_stage.unbind()):
            named[name if stage == stages - 1 else f"{name}_{stage}"] = loss
    return named


def quality_loss(q: Tensor, iou: Tensor, matched: Tensor, kind: str) -> Tensor:
    """How far the quality logits are from the IoU of each matched node with its object: a scalar.

    q, iou (in [0, 1], taken as constant) and bool `matched` share one shape. `bce` compares the logit with
    the soft target, `l1` and `mse` compare sigmoid(q). The mean runs over matched nodes; 0 without any.

    Raises ValueError for another kind.
    """
    target = iou.detach().float()
    q = q.float()
    if kind == "bce":
        loss = F.binary_cross_entropy_with_logits(q, target, reduction="none")
    elif kind == "l1":
        loss = (q.sigmoid() - target).abs()
    elif kind == "mse":
        loss = (q.sigmoid() - target) ** 2
    else:
        raise ValueError(f"QUALITY_LOSS_TYPE: {kind!r} is unknown; choose one of {', '.join(QUALITY_KINDS)}")
    return torch.where(matched, loss, 0.0).sum() / over_batch(matched.sum()).clamp(min=1)


def distill_losses(
    student_logits: Tensor,
    student_boxes: Tensor,
    teacher_logits: Tensor,
    teacher_boxes: Tensor,
    *,
    topk: int,
    image_whwh: Tensor,
    l1_weight: float,
    giou_weight: float,
    cls_weight: float,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Pull each student node to the teacher node of the same index, on the teacher's best nodes.

    The two ran from the same noise without box renewal, so node n is the same in both and needs no matching.
    Per image the `topk` nodes with the highest teacher score (greatest class logit) count, all of them when
    topk <= 0 or >= N. Boxes: L1 over the image size and GIoU. Classes: cross-entropy between the sigmoids at
    `temperature`, times its square, so that its gradient does not shrink with it (arXiv 1503.02531, sec.
    2.1).

    Args:
        student_logits, teacher_logits: [B, N, K]. The teacher takes no gradient.
        student_boxes, teacher_boxes: [B, N, 4] xyxy in pixels.
        image_whwh: [B, 4].

    Returns weighted scalars, means over the chosen nodes: `loss_distill_bbox`, `loss_distill_giou`, and
    `loss_distill_ce` (sum over classes a node); a loss of weight 0 is left out.
    """
    teacher_logits, teacher_boxes = teacher_logits.detach().float(), teacher_boxes.detach().float()
    student_logits, student_boxes = student_logits.float(), student_boxes.float()
    batch, nodes, classes = teacher_logits.shape
    if 0 < topk < nodes:
        chosen = teacher_logits.amax(dim=2).topk(topk, dim=1).indices[..., None]
        per_class, per_side = chosen.expand(-1, -1, classes), chosen.expand(-1, -1, 4)
        teacher_logits, student_logits = (
            teacher_logits.gather(1, per_class),
            student_logits.gather(1, per_class),
        )
        teacher_boxes, student_boxes = teacher_boxes.gather(1, per_side), student_boxes.gather(1, per_side)
    count = over_batch(teacher_logits.shape[0] * teacher_logits.shape[1])
    losses: dict[str, Tensor] = {}
    if l1_weight:
        whwh = image_whwh.float()[:, None]
        losses["loss_distill_bbox"] = l1_weight * (student_boxes / whwh - teacher_boxes / whwh).abs().sum() / count
    if giou_weight:
        losses["loss_distill_giou"] = giou_weight * giou_loss(student_boxes, teacher_boxes).sum() / count
    if cls_weight:
        soft = (teacher_logits / temperature).sigmoid()
        ce = F.binary_cross_entropy_with_logits(student_logits / temperature, soft, reduction="sum")
        losses["loss_distill_ce"] = cls_weight * temperature**2 * ce / count
    return losses


def _targets(gt_index: Tensor, gt_labels: Tensor, gt_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Label [S, B, N] and box [S, B, N, 4] of each node's object; anything where it has none."""
    stages, batch, nodes = gt_index.shape
    if gt_labels.shape[1] == 0:
        return torch.zeros_like(gt_index), gt_boxes.new_zeros(stages, batch, nodes, 4)
    index = gt_index.clamp(min=0)
    rows = torch.arange(batch, device=gt_index.device)[:, None]
    return gt_labels[rows, index], gt_boxes[rows, index]


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]
