"""Exponential moving average of the weights: what is evaluated and published when MODEL_EMA.ENABLED.

Called by the training loop. Source: Polyak averaging, as in Mean Teacher (arXiv 1703.01780), eq. 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """w_avg <- d w_avg + (1-d) w over parameters and floating buffers; integer buffers are copied.

    Args:
        decay: d in [0,1].
        ramp: with ramp r > 0, d grows as min(decay, (1+i)/(r+i)), so that early weights are forgotten.
    """

    def __init__(self, model: nn.Module, decay: float, ramp: int) -> None:
        self.decay = decay
        self.ramp = ramp
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def rate(self, iteration: int) -> float:
        """The decay in force at this iteration (0 first)."""
        return min(self.decay, (1 + iteration) / (self.ramp + iteration)) if self.ramp else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """Move the average towards the model's weights."""
        rate = self.rate(iteration)
        for name, value in model.state_dict().items():
            average = self.state[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - rate)
            else:
                average.copy_(value)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        for name, value in state.items():
            self.state[name].copy_(value)
