"""QUALITY_GUIDANCE: energy guidance that moves predicted boxes to where the quality head expects a better fit.

At a guided step the clean boxes x that the head predicts (in the diffusion's signal space) take L Langevin steps

    x <- x - eta_l grad E(x) + sqrt(2 eta_l tau) z,    E = -sum log q over the TOPK nodes with the best class score,

with q = sigmoid(quality head), eta_l from SCALE and STEP_SCHEDULE, tau = TEMPERATURE. The guided boxes then take the
place of the predicted ones: in the detections, in the next DDIM step, and in the quality that re-weights scores.

ROIAlign gives no gradient to boxes, so the gradient flows only through the explicit box input of the quality head
(centre, log size); the node's feature and which nodes are the top ones stay fixed while the boxes move.

Everything is per node set, noise is keyed by (eval seed, image, restart, step), and the global gradient norm is that of
one set: what happens to an image does not depend on the batch. Called by the sampler. Sources: model.md, "Guidance";
stochastic gradient Langevin dynamics (Welling and Teh 2011); classifier guidance (arXiv 2105.05233, sec. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from c2o_model.diffusion.boxes import MIN_SIZE, cxcywh_to_xyxy, encode, xyxy_to_cxcywh
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.quality import QualityHead
from c2o_model.sampling.noise import guidance_noise
from c2o_model.settings import GuidanceSettings

LEAST_NORM = 1e-12


class QualityEnergy:
    """E(x) = -sum log q over the chosen nodes of each of M sets, and its gradient by x.

    Copies what it needs, so that it also works inside ``torch.inference_mode``.

    Args:
        head: the quality head.
        node: [M,N,C] node features; whwh: [M,4] image sizes in pixels; unit_t: [M] time in [0,1].
        chosen: bool [M,N].
        scale: SNR_SCALE.
    """

    def __init__(
        self, head: QualityHead, node: Tensor, whwh: Tensor, unit_t: Tensor, chosen: Tensor, scale: float
    ) -> None:
        with torch.inference_mode(False):
            self.head = head
            self.weights = {name: value.detach().clone() for name, value in head.named_parameters()}
            self.node, self.whwh, self.unit_t = node.clone(), whwh.clone(), unit_t.clone()
            self.chosen, self.scale = chosen.clone(), scale

    def to_signal(self, boxes: Tensor) -> Tensor:
        """[M,N,4] xyxy pixels -> signal space, not clamped."""
        return encode(xyxy_to_cxcywh(boxes / self.whwh[:, None]), self.scale)

    def to_boxes(self, x: Tensor) -> Tensor:
        """The inverse; width and height at least 1e-4 of the image."""
        unit = (x / self.scale + 1) / 2
        unit = torch.cat([unit[..., :2], unit[..., 2:].clamp(min=MIN_SIZE)], dim=-1)
        return cxcywh_to_xyxy(unit) * self.whwh[:, None]

    def quality(self, boxes: Tensor) -> Tensor:
        """Quality logits [M,N] of boxes [M,N,4] in xyxy pixels."""
        logits: Tensor = functional_call(self.head, self.weights, (self.node, boxes, self.whwh, self.unit_t))
        return logits

    def energy(self, x: Tensor) -> Tensor:
        """[M] from x [M,N,4]."""
        surprise = -F.logsigmoid(self.quality(self.to_boxes(x)))
        return torch.where(self.chosen, surprise, 0.0).sum(dim=1)

    def gradient(self, x: Tensor) -> Tensor:
        """dE/dx, [M,N,4]; exactly 0 for nodes that are not chosen."""
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x)[0]


def guided(t: int, timesteps: int, final: bool, s: GuidanceSettings) -> bool:
    """Whether the step at time ``t`` is guided: the last one, all, or those with t/T <= QUALITY_GUIDANCE_THRESH."""
    if not s.quality_guidance or s.quality_guidance_scale == 0:
        return False
    if s.quality_guidance_mode == "threshold":
        return t / timesteps <= s.quality_guidance_thresh
    return final or s.quality_guidance_mode == "all"


def step_sizes(s: GuidanceSettings) -> list[float]:
    """eta of each Langevin step: SCALE, or falling linearly, SCALE (1 - l/L) for l = 0..L-1."""
    count = s.quality_guidance_langevin_steps
    fall = s.quality_guidance_step_schedule == "linear"
    return [s.quality_guidance_scale * (1 - i / count if fall else 1.0) for i in range(count)]


def normalise(gradient: Tensor, kind: str) -> Tensor:
    """``none``; ``proposal``: unit length for each node; ``global``: unit length for each set. [M,N,4] -> [M,N,4]."""
    if kind == "none":
        return gradient
    dims = (2,) if kind == "proposal" else (1, 2)
    return gradient / gradient.square().sum(dim=dims, keepdim=True).sqrt().clamp(min=LEAST_NORM)


def langevin(energy: QualityEnergy, x: Tensor, s: GuidanceSettings, noise: Tensor | None) -> Tensor:
    """L Langevin steps from x [M,N,4]; only chosen nodes move. noise [L,M,N,4] standard normal, unread at tau = 0."""
    for i, eta in enumerate(step_sizes(s)):
        move = -eta * normalise(energy.gradient(x), s.quality_guidance_grad_norm)
        if s.quality_guidance_temperature and noise is not None:
            move = move + (2 * eta * s.quality_guidance_temperature) ** 0.5 * noise[i]
        x = torch.where(energy.chosen[..., None], x + move, x)
    return x


def guide(
    detector: DiffusionDet,
    out: HeadOutput,
    whwh: Tensor,
    keys: Sequence[tuple[int, int, int]],
    index: int,
    t: int,
    final: bool,
) -> HeadOutput:
    """The head's output with its last boxes guided and their quality judged anew; ``out`` itself where guidance is off.

    Args:
        out: of M node sets at time ``t``.
        whwh: [M,4] image sizes in pixels.
        keys: (eval seed, image id, restart) of the M sets.
        index: of the sampler step, 0 first; final: whether it is the last.
    """
    s = detector.settings.guidance
    timesteps = detector.schedule.timesteps
    head = detector.head.quality_head
    if head is None or out.node is None or not guided(t, timesteps, final, s):
        return out
    boxes = out.boxes[-1]
    sets, nodes = boxes.shape[:2]
    best = detector.scores(out).amax(-1).topk(min(s.quality_guidance_topk, nodes), dim=1).indices
    chosen = torch.zeros(sets, nodes, dtype=torch.bool, device=boxes.device).scatter(1, best, True)
    unit_t = torch.full((sets,), t, device=boxes.device).float() / timesteps
    energy = QualityEnergy(head, out.node, whwh, unit_t, chosen, detector.settings.diffusion.snr_scale)
    noise = None
    if s.quality_guidance_temperature:
        noise = guidance_noise(keys, index, s.quality_guidance_langevin_steps, nodes, boxes.device)
    x = langevin(energy, energy.to_signal(boxes), s, noise)
    moved = torch.where(chosen[..., None], energy.to_boxes(x), boxes)
    return replace(out, boxes=torch.cat([out.boxes[:-1], moved[None]]), quality=energy.quality(moved))
