"""USE_FED_LOSS: only some classes take part in the class loss of a step (federated loss; Detic, arXiv 2201.02605).

In a set with a thousand classes (LVIS) most negatives are easy and rare classes drown in them. So the classes of the
batch's objects always count, and others are drawn until ``count`` are together, with a probability that follows a
power (1/2) of the number of images that show the class. Called by the detector; the frequencies are set by
:mod:`c2o_model.training.frequencies`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.divisors import over_batch


@dataclass(frozen=True)
class FederatedClasses:
    """How classes are drawn: weights [K], not negative (0: never drawn), and how many classes take part."""

    weights: Tensor
    count: int

    def choose(self, labels: Tensor, mask: Tensor, u: Tensor) -> Tensor:
        """The classes that take part in one step, bool [K].

        Drawn without replacement in proportion to the weights: the smallest of independent exponential times
        -log(1 - u_k)/w_k come first (Efraimidis and Spirakis 2006). All classes of the objects are in, even where
        they are more than ``count``.

        Args:
            labels: int64 [B, G] in 0..K-1, anything where ``mask`` [B, G] is False.
            u: [K], independent, uniform in [0, 1).
        """
        weights = self.weights.double().to(labels.device)
        classes = len(weights)
        slot = torch.where(mask, labels, classes).flatten()
        objects = torch.zeros(classes + 1, device=labels.device).index_add_(0, slot, torch.ones_like(slot).float())
        present = over_batch(objects[:classes]) > 0
        time = -torch.log1p(-u.double().to(labels.device)) / weights
        time = torch.where(present, -1.0, torch.where(weights > 0, time, float("inf")))
        place = time.argsort(stable=True).argsort()
        return present | ((place < self.count) & time.isfinite())
