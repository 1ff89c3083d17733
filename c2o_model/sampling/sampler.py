"""The DDIM sampler over boxes and labels, for many images and eval seeds at once (DiffusionDet, algorithm 2).

The pyramid of an image is computed once by the caller and shared by its seeds and restarts: node sets of one image are
neighbours in the batch. Box renewal replaces boxes in place, per image, so nodes keep their index.

Called by evaluation, by timing, and by distillation (the teacher).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusion.anisotropy import shape_noise
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode, encode, xyxy_to_cxcywh
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.labels import LabelDiffusion, sample_categorical
from c2o_model.diffusion.schedules import ddim_times
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.sampling.detections import Candidates, Detections, select, suppress
from c2o_model.sampling.guidance import guide
from c2o_model.sampling.noise import START, LabelNoise, StepNoise, label_noise, step_noise
from c2o_model.settings import SamplerSettings


@dataclass(frozen=True)
class Trajectory:
    """Where a sampler ended: logits [M,N,K] and boxes [M,N,4] xyxy pixels of its last step."""

    logits: Tensor
    boxes: Tensor


@torch.no_grad()
def sample(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    image_ids: Sequence[int],
    eval_seeds: Sequence[int],
    settings: SamplerSettings,
    per_image: int = 100,
) -> list[list[Detections]]:
    """Detections for every image and eval seed.

    Args:
        features: pyramid levels [B, C, H_l, W_l] of the B images.
        whwh: [B,4] image sizes in pixels.
        image_ids: the B ids that key the noise.
        eval_seeds: S seeds.
        settings: steps, eta, renewal, ensemble, NMS, restarts.
        per_image: the most detections kept of an image (COCO: 100).

    Returns:
        B lists of S detections, best score first.
    """
    restarts = settings.sample_restarts
    keys = [(seed, int(image), r) for image in image_ids for seed in eval_seeds for r in range(restarts)]
    groups = len(eval_seeds) * restarts
    candidates = _run(detector, features, whwh.repeat_interleave(groups, 0), keys, settings)
    if restarts > 1:  # the restarts of one (image, seed) form one ensemble
        candidates = candidates.fold(restarts)
    found = suppress(candidates, whwh.repeat_interleave(len(eval_seeds), 0), settings, per_image)
    s = len(eval_seeds)
    return [found[i * s : (i + 1) * s] for i in range(len(image_ids))]


@torch.no_grad()
def run_teacher(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    start: Tensor,
    steps: int,
    eta: float,
    keys: Sequence[tuple[int, int, int]],
) -> Trajectory:
    """The teacher's sampler: where :func:`run_aligned` ends, without gradient."""
    out = run_aligned(detector, features, whwh, start, steps, eta, keys)
    return Trajectory(out.logits[-1], out.boxes[-1])


def run_aligned(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    start: Tensor,
    steps: int,
    eta: float,
    keys: Sequence[tuple[int, int, int]],
) -> HeadOutput:
    """``steps`` DDIM steps from the noise ``start`` [B,N,4], no renewal, nodes index aligned; the last step's output.

    ``keys`` [B] key the noise of the steps, which only ``eta`` > 0 and hard label states need, and that of Gaussian
    label states. ``start`` is what the nodes start from, with ANISO_NOISE already scaled. Never guided. Gradients flow
    through every step where enabled: x_s is an affine function of the predicted boxes (clamped ones give none).
    """
    process = detector.label_process
    hard = isinstance(process, LabelDiffusion) and not detector.settings.label.label_d3pm_use_distribution
    noisy = eta > 0 or hard
    state = _State(start, _first_labels(detector, keys, start.shape[1], start.device))
    for index, (t, s) in enumerate(ddim_times(steps, detector.schedule.timesteps)):
        out = _predict(detector, features, whwh, state, t)
        if s >= 0:
            noise = _noise(detector, keys, index, start.shape[1], start.device) if noisy else None
            fuzz = _label_noise(detector, keys, index, start.shape[1], start.device) if noisy else None
            state = _advance(detector, state, out, whwh, t, s, eta, noise, fuzz)
    return out


@dataclass(frozen=True)
class _State:
    """The noisy nodes between two steps: x [M,N,4] in the diffusion's signal space; labels [M,N,K+1] or None.

    Labels are probabilities (D3PM) or, as the boxes, in signal space (Gaussian).
    """

    x: Tensor
    labels: Tensor | None


def _run(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    keys: Sequence[tuple[int, int, int]],
    settings: SamplerSettings,
) -> Candidates:
    n = settings.test_num_proposals or detector.settings.diffusion.num_proposals
    start = _noise(detector, keys, START, n, whwh.device).ddim
    state = _State(start, _first_labels(detector, keys, n, whwh.device))
    times = ddim_times(settings.sample_step, detector.schedule.timesteps)
    last = len(times) - 1
    kept: list[Candidates] = []
    for index, (t, s) in enumerate(times):
        out = guide(detector, _predict(detector, features, whwh, state, t), whwh, keys, index, t, index == last)
        scores = detector.scores(out)
        dropped = settings.sampler_compat == "diffusiondet" and index == last and last > 0
        if (settings.use_ensemble and not dropped) or (not settings.use_ensemble and index == last):
            kept.append(select(scores, out.boxes[-1], n))
        if index < last:
            noise = _noise(detector, keys, index, n, whwh.device)
            fuzz = _label_noise(detector, keys, index, n, whwh.device)
            state = _advance(detector, state, out, whwh, t, s, settings.sample_eta, noise, fuzz)
            if settings.box_renewal:
                best = detector.class_scores(out.logits[-1]).amax(-1)
                state = _renew(state, best, noise, fuzz, settings.box_renewal_thresh)
    return Candidates.join(kept)


def _predict(detector: DiffusionDet, features: Sequence[Tensor], whwh: Tensor, state: _State, t: int) -> HeadOutput:
    boxes = cxcywh_to_xyxy(decode(state.x, detector.settings.diffusion.snr_scale)) * whwh[:, None]
    times = torch.full((state.x.shape[0],), t, dtype=torch.long, device=whwh.device)
    labels, process = state.labels, detector.label_process
    if labels is not None and isinstance(process, GaussianLabels):
        labels = process.seen(labels)
    return detector.head(features, boxes, times, whwh, labels)


def _advance(
    detector: DiffusionDet,
    state: _State,
    out: HeadOutput,
    whwh: Tensor,
    t: int,
    s: int,
    eta: float,
    noise: StepNoise | None,
    fuzz: LabelNoise | None = None,
) -> _State:
    """One DDIM step of the boxes and one reverse step of the labels, from t to s."""
    scale = detector.settings.diffusion.snr_scale
    x0 = encode(xyxy_to_cxcywh(out.boxes[-1] / whwh[:, None]), scale).clamp(-scale, scale)
    x = detector.schedule.ddim_step(state.x, x0, t, s, eta, None if noise is None else noise.ddim)
    labels = state.labels
    process = detector.label_process
    if isinstance(process, GaussianLabels) and labels is not None:
        expected = detector.label_distribution(out.logits[-1])
        labels = process.step(labels, expected, t, s, eta, None if fuzz is None else fuzz.ddim)
    elif isinstance(process, LabelDiffusion) and labels is not None:
        labels = process.posterior(labels, detector.label_distribution(out.logits[-1]), t, s)
        if not detector.settings.label.label_d3pm_use_distribution and noise is not None:
            labels = F.one_hot(sample_categorical(labels, noise.label), process.num_classes + 1).to(x.dtype)
    return _State(x, labels)


def _renew(state: _State, best: Tensor, noise: StepNoise, fuzz: LabelNoise | None, threshold: float) -> _State:
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


def _noise(
    detector: DiffusionDet, keys: Sequence[tuple[int, int, int]], step: int, nodes: int, device: torch.device
) -> StepNoise:
    """The noise of one step, scaled by ANISO_NOISE in every part that boxes see."""
    noise, aniso = step_noise(keys, step, nodes, device), detector.settings.aniso
    return replace(noise, ddim=shape_noise(noise.ddim, aniso), renewal=shape_noise(noise.renewal, aniso))


def _label_noise(
    detector: DiffusionDet, keys: Sequence[tuple[int, int, int]], step: int, nodes: int, device: torch.device
) -> LabelNoise | None:
    """Noise for Gaussian label states; None for any other."""
    process = detector.label_process
    return label_noise(keys, step, nodes, process.states, device) if isinstance(process, GaussianLabels) else None


def _first_labels(
    detector: DiffusionDet, keys: Sequence[tuple[int, int, int]], nodes: int, device: torch.device
) -> Tensor | None:
    """What labels start from, [M,N,K+1]: noise (Gaussian), all unknown (D3PM), or None without label states."""
    fuzz = _label_noise(detector, keys, START, nodes, device)
    return _all_unknown(detector, (len(keys), nodes), device) if fuzz is None else fuzz.ddim


def _all_unknown(detector: DiffusionDet, shape: Sequence[int], device: torch.device) -> Tensor | None:
    if detector.label_process is None:
        return None
    labels = torch.zeros(*shape, detector.label_process.num_classes + 1, device=device)
    labels[..., -1] = 1
    return labels
