"""LABEL_STATE without LABEL_D3PM: the label of a node as a vector that is noised like its box.

The label c in {0..K-1, unk = K} is the analog-bit vector scale (2 onehot(c) - 1) in R^(K+1) (Analog Bits, arXiv
2208.04202) and goes through the boxes' own Gaussian process: same schedule, same time, scale SNR_SCALE. Nodes without
an object carry ``unk``. What the head sees is the noisy vector decoded as a box is, clamped to [-scale, scale] and
brought to [0, 1]; it enters through the same embedding as the discrete states do. Sampling starts from pure noise and
walks with DDIM, as the boxes do. A renewed box starts again from pure noise, label included.

Called by the detector's training nodes and the sampler; the counterpart of :mod:`c2o_model.diffusion.labels`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusion.boxes import decode, encode
from c2o_model.diffusion.schedules import GaussianSchedule


@dataclass(frozen=True)
class GaussianLabels:
    """The continuous process of the labels.

    Args:
        num_classes: K; states have K + 1 components, the last is ``unk``.
        schedule: the Gaussian process, shared with the boxes.
        scale: of the signal, as for the boxes.
    """

    num_classes: int
    schedule: GaussianSchedule
    scale: float

    @property
    def states(self) -> int:
        """K + 1."""
        return self.num_classes + 1

    def to(self, device: torch.device | str) -> GaussianLabels:
        """The same process with its tables on `device`."""
        return replace(self, schedule=self.schedule.to(device))

    def q_sample(self, c0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_t [B, N, K+1] of labels c0 int64 [B, N] at t (int64 [B] or int), with standard normal noise [B, N, K+1]."""
        x0 = encode(F.one_hot(c0, self.states).to(noise.dtype), self.scale)
        return self.schedule.q_sample(x0, t, noise)

    def seen(self, x: Tensor) -> Tensor:
        """What the label embedding takes, [..., K+1] in [0, 1]: one-hot for a clean label."""
        return decode(x, self.scale)

    def step(self, x_t: Tensor, x0_probs: Tensor, t: int, s: int, eta: float, noise: Tensor | None) -> Tensor:
        """One DDIM step from t to s. The predicted x_0 is its mean under p(x_0) [..., K+1], background last."""
        return self.schedule.ddim_step(x_t, encode(x0_probs, self.scale), t, s, eta, noise)
