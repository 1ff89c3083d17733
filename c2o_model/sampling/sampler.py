"""The DDIM sampler over boxes and labels, for many images and eval seeds at once (DiffusionDet, algorithm 2).

The pyramid of an image is computed once by the caller and shared by its seeds and restarts: node sets of one image are
neighbours in the batch. Box renewal replaces boxes in place, per image, so nodes keep their index.

Called by evaluation, by timing, and by distillation (the teacher).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.diffusion.schedules import ddim_times
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput
from c2o_model.sampling.detections import Candidates, Detections, select, suppress
from c2o_model.sampling.guidance import guide
from c2o_model.sampling.steps import (
    Keys,
    NodeState,
    Walk,
    advance,
    first_labels,
    first_state,
    label_noise_of,
    needs_noise,
    noise_of,
    predict,
    renew,
)
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
    candidates = denoise(detector, features, whwh.repeat_interleave(groups, 0), keys, settings)
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
    keys: Keys,
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
    keys: Keys,
) -> HeadOutput:
    """``steps`` DDIM steps from the noise ``start`` [B,N,4], no renewal, nodes index aligned; the last step's output.

    ``keys`` [B] key the noise of the steps, which only ``eta`` > 0 and hard label states need, and that of Gaussian
    label states. ``start`` is what the nodes start from, with ANISO_NOISE already scaled. Never guided. Gradients flow
    through every step where enabled: x_s is an affine function of the predicted boxes (clamped ones give none).
    """
    noisy = needs_noise(detector, eta)
    state = NodeState(start, first_labels(detector, keys, start.shape[1], start.device))
    for index, (t, s) in enumerate(ddim_times(steps, detector.schedule.timesteps)):
        out = predict(detector, features, whwh, state, t)
        if s >= 0:
            noise = noise_of(detector, keys, index, start.shape[1], start.device) if noisy else None
            fuzz = label_noise_of(detector, keys, index, start.shape[1], start.device) if noisy else None
            state = advance(detector, state, out, whwh, t, s, eta, noise, fuzz)
    return out


def denoise(
    detector: DiffusionDet,
    features: Sequence[Tensor],
    whwh: Tensor,
    keys: Keys,
    settings: SamplerSettings,
    *,
    start: NodeState | None = None,
    walk: Walk | None = None,
    after: Callable[[int, int, NodeState], NodeState] | None = None,
) -> Candidates:
    """The candidates of M node sets, over all steps of the ensemble; nothing is suppressed yet.

    Args:
        features: [B,C,H_l,W_l] with M a multiple of B; whwh: [M,4] image sizes in pixels.
        start: the nodes to start from; default pure noise. Its N decides over the number of nodes.
        walk: who takes the nodes from one noise level to the next; default the detector's own processes.
        after: called at the end of each step with its index, its t and the nodes for the next step (of the last step:
            those that it started from); what it returns takes their place.
    """
    n = settings.test_num_proposals or detector.settings.diffusion.num_proposals
    n = n if start is None else start.x.shape[1]
    state = first_state(detector, keys, n, whwh.device) if start is None else start
    times = ddim_times(settings.sample_step, detector.schedule.timesteps)
    last = len(times) - 1
    kept: list[Candidates] = []
    for index, (t, s) in enumerate(times):
        out = guide(detector, predict(detector, features, whwh, state, t), whwh, keys, index, t, index == last)
        scores = detector.scores(out)
        dropped = settings.sampler_compat == "diffusiondet" and index == last and last > 0
        if (settings.use_ensemble and not dropped) or (not settings.use_ensemble and index == last):
            kept.append(select(scores, out.boxes[-1], n))
        if index < last:
            noise = noise_of(detector, keys, index, n, whwh.device)
            fuzz = label_noise_of(detector, keys, index, n, whwh.device)
            state = advance(detector, state, out, whwh, t, s, settings.sample_eta, noise, fuzz, walk)
            if settings.box_renewal:
                best = detector.class_scores(out.logits[-1]).amax(-1)
                state = renew(state, best, noise, fuzz, settings.box_renewal_thresh)
        if after is not None:
            state = after(index, t, state)
    return Candidates.join(kept)
