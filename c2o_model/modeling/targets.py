"""Training nodes: ground truth padded to N boxes, noised to a random time (DiffusionDet, algorithm 1).

Randomness comes in as tensors (:class:`TrainingDraws`), so that one seed and iteration give the same nodes however
the batch is split. Called by the detector; the draws are made by :mod:`c2o_model.training.draws`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusion.anisotropy import shape_noise
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode, encode, pad_nodes, xyxy_to_cxcywh
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.labels import LabelDiffusion
from c2o_model.diffusion.schedules import GaussianSchedule
from c2o_model.settings import AnisoSettings


@dataclass
class TrainingBatch:
    """B images with their ground truth, padded to G boxes.

    images uint8 [B,3,H,W] or a list; boxes [B,G,4] xyxy pixels; labels [B,G] in 0..K-1 (-1 pads); mask [B,G]; whwh
    [B,4]. canvas: height and width that the images are padded to at least: those of the batch that this is a part of.
    """

    images: Tensor | Sequence[Tensor]
    boxes: Tensor
    labels: Tensor
    mask: Tensor
    whwh: Tensor
    canvas: tuple[int, int] = (0, 0)


@dataclass
class TrainingDraws:
    """All random numbers of one training step.

    t [B] in 0..T-1; noise, fill [B,N,4] standard normal; order [B,G] and label [B,N] uniform in [0,1);
    start [B,N,4] standard normal: where the student's sampler starts; label_noise [B,N,K+1] standard normal, for
    Gaussian label states only; classes [K] uniform, of the whole batch, for the federated loss only.
    """

    t: Tensor
    noise: Tensor
    fill: Tensor
    order: Tensor
    label: Tensor
    start: Tensor
    label_noise: Tensor | None = None
    classes: Tensor | None = None


@dataclass
class NoisyNodes:
    """What the head sees in training: boxes [B,N,4] xyxy pixels, t [B], label_state [B,N,K+1] or None."""

    boxes: Tensor
    t: Tensor
    label_state: Tensor | None


def make_noisy_nodes(
    batch: TrainingBatch,
    draws: TrainingDraws,
    schedule: GaussianSchedule,
    scale: float,
    labels: LabelDiffusion | GaussianLabels | None,
    aniso: AnisoSettings | None = None,
) -> NoisyNodes:
    """Pad, encode, noise and decode the ground truth; noise its labels by their own forward process when on.

    With Gaussian labels the state is the noisy label vector decoded to [0, 1], else one-hot.
    """
    gt = xyxy_to_cxcywh(batch.boxes / batch.whwh[:, None])
    x0, owner = pad_nodes(gt, batch.mask, draws.noise.shape[1], draws.fill, draws.order)
    noise = draws.noise if aniso is None else shape_noise(draws.noise, aniso)
    x_t = schedule.q_sample(encode(x0, scale), draws.t, noise)
    boxes = cxcywh_to_xyxy(decode(x_t, scale)) * batch.whwh[:, None]
    state = None
    if labels is not None:
        unk = labels.num_classes
        known = batch.labels.gather(1, owner.clamp(min=0)) if batch.labels.shape[1] else owner
        clean = torch.where(owner >= 0, known, torch.full_like(owner, unk))
        if isinstance(labels, GaussianLabels):
            if draws.label_noise is None:
                raise ValueError("Gaussian label states need label noise: draw(..., label_states=K+1)")
            state = labels.seen(labels.q_sample(clean, draws.t, draws.label_noise))
        else:
            noisy = labels.q_sample(clean, draws.t, draws.label)
            state = F.one_hot(noisy, unk + 1).to(x_t.dtype)
    return NoisyNodes(boxes, draws.t, state)
