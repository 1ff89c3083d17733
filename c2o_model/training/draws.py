"""The random numbers of one training step, keyed by (train seed, iteration), for the whole global batch.

Made on the CPU for the global batch and then sliced, so processes that share a batch see the nodes that one process
would. Called by the training loop.
"""

from __future__ import annotations

import torch

from c2o_model.determinism import derive_seed
from c2o_model.modeling.targets import TrainingDraws


def draw(seed: int, iteration: int, batch: int, nodes: int, max_gt: int, timesteps: int) -> TrainingDraws:
    """Draws for ``batch`` images of ``nodes`` nodes. ``t`` is uniform over 0..timesteps-1, one an image."""
    generator = torch.Generator().manual_seed(derive_seed("train", seed, iteration))
    t = torch.randint(0, timesteps, (batch,), generator=generator)
    noise, fill, start = torch.randn(3, batch, nodes, 4, generator=generator)
    label = torch.rand(batch, nodes, generator=generator)
    order = torch.rand(batch, max_gt, generator=generator)  # last: its width follows the batch's largest image
    return TrainingDraws(t=t, noise=noise, fill=fill, order=order, label=label, start=start)
