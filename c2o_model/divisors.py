"""Divisors of losses that count the whole global batch, however it is split over processes and micro-batches.

A loss that is divided by what is counted in the batch (matched nodes, weights, chosen nodes) passes the count through
:func:`over_batch` before it divides. In plain training that does nothing. Where the batch is split, the loop installs
what sums the counts over all parts, so that the parts' losses and gradients add up to those of the whole batch.

The count must not carry a gradient, and every part must ask for the same counts in the same order.
Called by the losses (:mod:`c2o_model.modeling.losses`); installed by :mod:`c2o_model.training.split`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Count = TypeVar("Count", Tensor, int, float)
Summed = Callable[[Tensor], Tensor]

_installed: Summed | None = None


def over_batch(count: Count) -> Count | Tensor:
    """``count`` of this part of the batch -> of the whole global batch; the very same object where nothing is split."""
    if _installed is None:
        return count
    return _installed(torch.as_tensor(count).detach())


@contextmanager
def installed(summed: Summed) -> Iterator[None]:
    """Let :func:`over_batch` answer with ``summed(count)`` inside the block."""
    global _installed
    before, _installed = _installed, summed
    try:
        yield
    finally:
        _installed = before


class Ledger:
    """The counts of one step: added up over micro-batches in a first pass, read in a second.

    The order of the calls is the name of a count: call i of every micro-batch is the same divisor.
    """

    def __init__(self) -> None:
        self.sums: list[Tensor] = []
        self._next = 0

    def rewind(self) -> None:
        """The next count is the first one of another micro-batch."""
        self._next = 0

    def record(self, count: Tensor) -> Tensor:
        """Add ``count`` and give it back."""
        if self._next == len(self.sums):
            self.sums.append(count.clone())
        else:
            self.sums[self._next] = self.sums[self._next] + count
        self._next += 1
        return count

    def recall(self, count: Tensor) -> Tensor:
        """The sum in the place of ``count``."""
        self._next += 1
        return self.sums[self._next - 1]
