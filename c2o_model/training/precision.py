"""SOLVER.AMP.ENABLED: matrix products and convolutions in bfloat16, everything else and all weights in float32.

bfloat16 has the range of float32, so the loss is not scaled. Boxes, RoI pooling, matching and losses stay float32.
Called by the training loop around a step's forward pass. Source: mixed precision training (arXiv 1710.03740) with
bfloat16 (arXiv 1905.12322).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def precision(enabled: bool, device: torch.device) -> AbstractContextManager[object]:
    """What the forward pass of a training step runs in.

    Rounded weights are not cached: a cache filled without gradients (a sampler inside the step) would cut the
    gradient of a later call of the same weights.
    """
    if not enabled:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
