"""Noise keyed by what it is for: one generator per (eval seed, image, restart, step).

So the detections of an image do not depend on the batch it is in, on image order, or on the number of processes.
Called by the sampler. Drawn on the CPU, hence the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.determinism import derive_seed

START = -1  # the "step" whose noise the sampler starts from


@dataclass(frozen=True)
class StepNoise:
    """Standard normal numbers for M node sets: ``ddim`` and ``renewal`` [M,N,4]; uniforms ``label`` [M,N]."""

    ddim: Tensor
    renewal: Tensor
    label: Tensor


@dataclass(frozen=True)
class LabelNoise:
    """Standard normal numbers for continuous label states of M node sets: ``ddim`` and ``renewal`` [M,N,K+1]."""

    ddim: Tensor
    renewal: Tensor


def step_noise(keys: Sequence[tuple[int, int, int]], step: int, num_nodes: int, device: torch.device) -> StepNoise:
    """Noise of one sampler step.

    Args:
        keys: (eval seed, image id, restart) of each of the M node sets.
        step: index of the step, 0 first; :data:`START` for the initial boxes (use ``ddim``).
        num_nodes: N.
    """
    generator = torch.Generator()
    normal = torch.empty(len(keys), 2, num_nodes, 4)
    uniform = torch.empty(len(keys), num_nodes)
    for i, (eval_seed, image_id, restart) in enumerate(keys):
        generator.manual_seed(derive_seed("sample", eval_seed, image_id, restart, step + 1))
        normal[i].normal_(generator=generator)
        uniform[i].uniform_(generator=generator)
    normal, uniform = normal.to(device), uniform.to(device)
    return StepNoise(normal[:, 0], normal[:, 1], uniform)


def label_noise(
    keys: Sequence[tuple[int, int, int]], step: int, num_nodes: int, states: int, device: torch.device
) -> LabelNoise:
    """As :func:`step_noise`, from streams of its own, for label vectors of ``states`` = K+1 components."""
    normal = _normal("sample-label", keys, step, (2, num_nodes, states)).to(device)
    return LabelNoise(normal[:, 0], normal[:, 1])


def guidance_noise(
    keys: Sequence[tuple[int, int, int]], step: int, langevin_steps: int, num_nodes: int, device: torch.device
) -> Tensor:
    """Standard normal [L,M,N,4] for the Langevin steps of one sampler step, from streams of its own."""
    return _normal("guide", keys, step, (langevin_steps, num_nodes, 4)).to(device).transpose(0, 1)


def _normal(purpose: str, keys: Sequence[tuple[int, int, int]], step: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator()
    normal = torch.empty(len(keys), *shape)
    for i, (eval_seed, image_id, restart) in enumerate(keys):
        generator.manual_seed(derive_seed(purpose, eval_seed, image_id, restart, step + 1))
        normal[i].normal_(generator=generator)
    return normal
