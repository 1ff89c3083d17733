"""The random numbers of one training step, keyed by (train seed, iteration), for the whole global batch.

Made on the CPU for the global batch and then sliced, so processes that share a batch see the nodes that one process
would. Called by the training loop.
"""

from __future__ import annotations

import torch

from c2o_model.determinism import derive_seed
from c2o_model.modeling.targets import TrainingDraws


def draw(
    seed: int,
    iteration: int,
    batch: int,
    nodes: int,
    max_gt: int,
    timesteps: int,
    *,
    label_states: int = 0,
    classes: int = 0,
) -> TrainingDraws:
    """Draws for ``batch`` images of ``nodes`` nodes. ``t`` is uniform over 0..timesteps-1, one an image.

    ``label_states`` K+1 > 0 adds noise for Gaussian label states and ``classes`` K > 0 the uniforms of the federated
    loss, each from a stream of its own, so that they change nothing else.
    """
    generator = torch.Generator().manual_seed(derive_seed("train", seed, iteration))
    t = torch.randint(0, timesteps, (batch,), generator=generator)
    noise, fill, start = torch.randn(3, batch, nodes, 4, generator=generator)
    label = torch.rand(batch, nodes, generator=generator)
    order = torch.rand(batch, max_gt, generator=generator)  # last: its width follows the batch's largest image
    draws = TrainingDraws(t=t, noise=noise, fill=fill, order=order, label=label, start=start)
    if label_states:
        generator.manual_seed(derive_seed("train-label", seed, iteration))
        draws.label_noise = torch.randn(batch, nodes, label_states, generator=generator)
    if classes:
        generator.manual_seed(derive_seed("train-classes", seed, iteration))
        draws.classes = torch.rand(classes, generator=generator)
    return draws
