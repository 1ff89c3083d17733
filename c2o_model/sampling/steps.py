"""What the sampler repeats: noisy nodes, the head's prediction for them, the way to the next noise level, renewal.

The way from t to s is taken by :class:`Walk`: the detector's own processes, or the schedulers of another library
around the very same processes (:mod:`c2o_model.diffusers`). Called by the sampler and by those pipelines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusion.anisotropy import shape_noise
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode, encode, xyxy_to_cxcywh
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.labels import LabelDiffusion, sample_categorical
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.sampling.noise import START, LabelNoise, StepNoise, label_noise, step_noise

Keys = Sequence[tuple[int, int, int]]
"""(eval seed, image id, restart) of each of the M node sets."""


@dataclass(frozen=True)
class NodeState:
    """The noisy nodes between two steps: x [M,N,4] in the diffusion's signal space; labels [M,N,K+1] or None.

    Labels are probabilities (D3PM) or, as the boxes, in signal space (Gaussian).
    """

    x: Tensor
    labels: Tensor | None


class Walk(Protocol):
    """How boxes and labels get from noise level t to s < t, given what the head predicts to be clean."""

    def boxes(self, x: Tensor, x0: Tensor, t: int, s: int, eta: float, noise: Tensor | None) -> Tensor:
        """x_s of x_t and the predicted x_0, all [M,N,4] in signal space; ``noise`` is standard normal."""
        ...

    def labels(
        self, labels: Tensor, expected: Tensor, t: int, s: int, eta: float, noise: StepNoise | None, fuzz: Tensor | None
    ) -> Tensor:
        """Label states [M,N,K+1] at s of those at t and p(x_0) ``expected``; ``fuzz``: normal numbers, if Gaussian."""
        ...


@dataclass(frozen=True)
class OwnWalk:
    """By the detector's own schedule and label process."""

    detector: DiffusionDet

    def boxes(self, x: Tensor, x0: Tensor, t: int, s: int, eta: float, noise: Tensor | None) -> Tensor:
        """A DDIM step."""
        return self.detector.schedule.ddim_step(x, x0, t, s, eta, noise)

    def labels(
        self, labels: Tensor, expected: Tensor, t: int, s: int, eta: float, noise: StepNoise | None, fuzz: Tensor | None
    ) -> Tensor:
        """A DDIM step of Gaussian labels; the posterior of discrete ones, drawn from where states are hard."""
        process = self.detector.label_process
        if isinstance(process, GaussianLabels):
            return process.step(labels, expected, t, s, eta, fuzz)
        assert process is not None
        posterior = process.posterior(labels, expected, t, s)
        if self.detector.settings.label.label_d3pm_use_distribution or noise is None:
            return posterior
        return draw_states(posterior, noise.label).to(posterior.dtype)


def draw_states(probs: Tensor, uniform: Tensor) -> Tensor:
    """Hard states, one-hot int64 [..., K+1], drawn from probs [..., K+1] with uniforms [...]."""
    return F.one_hot(sample_categorical(probs, uniform), probs.shape[-1])


def first_state(detector: DiffusionDet, keys: Keys, nodes: int, device: torch.device) -> NodeState:
    """What sampling starts from: boxes of pure noise; labels of noise (Gaussian), all unknown (D3PM), or None."""
    return NodeState(noise_of(detector, keys, START, nodes, device).ddim, first_labels(detector, keys, nodes, device))


def predict(detector: DiffusionDet, features: Sequence[Tensor], whwh: Tensor, state: NodeState, t: int) -> HeadOutput:
    """The head's output for M noisy node sets at t; features [B,C,H_l,W_l] with M a multiple of B, whwh [M,4]."""
    boxes = cxcywh_to_xyxy(decode(state.x, detector.settings.diffusion.snr_scale)) * whwh[:, None]
    times = torch.full((state.x.shape[0],), t, dtype=torch.long, device=whwh.device)
    labels, process = state.labels, detector.label_process
    if labels is not None and isinstance(process, GaussianLabels):
        labels = process.seen(labels)
    return detector.head(features, boxes, times, whwh, labels)


def clean_boxes(detector: DiffusionDet, out: HeadOutput, whwh: Tensor) -> Tensor:
    """The predicted x_0 [M,N,4] in signal space, clamped to [-scale, scale]."""
    scale = detector.settings.diffusion.snr_scale
    return encode(xyxy_to_cxcywh(out.boxes[-1] / whwh[:, None]), scale).clamp(-scale, scale)


def advance(
    detector: DiffusionDet,
    state: NodeState,
    out: HeadOutput,
    whwh: Tensor,
    t: int,
    s: int,
    eta: float,
    noise: StepNoise | None,
    fuzz: LabelNoise | None = None,
    walk: Walk | None = None,
) -> NodeState:
    """The nodes at s of those at t, by ``walk`` (default: the detector's own processes)."""
    walk = OwnWalk(detector) if walk is None else walk
    x = walk.boxes(state.x, clean_boxes(detector, out, whwh), t, s, eta, None if noise is None else noise.ddim)
    labels = state.labels
    if labels is not None:
        expected = detector.label_distribution(out.logits[-1])
        labels = walk.labels(labels, expected, t, s, eta, noise, None if fuzz is None else fuzz.ddim)
    return NodeState(x, labels)


def renew(state: NodeState, best: Tensor, noise: StepNoise, fuzz: LabelNoise | None, threshold: float) -> NodeState:
    """Fresh noise for nodes whose ``best`` class score [M,N] is not above ``threshold``.

    Their label becomes what labels start from: unknown (D3PM), or noise as well (Gaussian).
    """
    stale = (best <= threshold)[..., None]  # [M,N,1]
    labels = state.labels
    if labels is not None and fuzz is not None:
        labels = torch.where(stale, fuzz.renewal, labels)
    elif labels is not None:
        unknown = torch.zeros_like(labels)
        unknown[..., -1] = 1
        labels = torch.where(stale, unknown, labels)
    return replace(state, x=torch.where(stale, noise.renewal, state.x), labels=labels)


def noise_of(detector: DiffusionDet, keys: Keys, step: int, nodes: int, device: torch.device) -> StepNoise:
    """The noise of one step, scaled by ANISO_NOISE in every part that boxes see."""
    noise, aniso = step_noise(keys, step, nodes, device), detector.settings.aniso
    return replace(noise, ddim=shape_noise(noise.ddim, aniso), renewal=shape_noise(noise.renewal, aniso))


def label_noise_of(
    detector: DiffusionDet, keys: Keys, step: int, nodes: int, device: torch.device
) -> LabelNoise | None:
    """Noise for Gaussian label states; None for any other."""
    process = detector.label_process
    return label_noise(keys, step, nodes, process.states, device) if isinstance(process, GaussianLabels) else None


def first_labels(detector: DiffusionDet, keys: Keys, nodes: int, device: torch.device) -> Tensor | None:
    """What labels start from, [M,N,K+1]: noise (Gaussian), all unknown (D3PM), or None without label states."""
    if detector.label_process is None:
        return None
    fuzz = label_noise_of(detector, keys, START, nodes, device)
    if fuzz is not None:
        return fuzz.ddim
    labels = torch.zeros(len(keys), nodes, detector.label_process.num_classes + 1, device=device)
    labels[..., -1] = 1
    return labels


def needs_noise(detector: DiffusionDet, eta: float) -> bool:
    """Whether a step reads noise: boxes with eta > 0, and hard label states."""
    hard = (
        isinstance(detector.label_process, LabelDiffusion) and not detector.settings.label.label_d3pm_use_distribution
    )
    return eta > 0 or hard
