"""Random numbers that stay the same: keyed by meaning, from a frozen stream."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


class Draw:
    """Integers from a stream that belongs to `key`, e.g. ``Draw("digits/scene", seed, "train", 17)``.

    The key is hashed with SHA-256 into the seed of NumPy's legacy RandomState, whose stream is frozen by NEP
    19; every draw names its integer type, so the platform's default integer does not matter either.
    """

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
        self._state = np.random.RandomState(np.frombuffer(digest, dtype="<u4").astype(np.uint32))

    def integer(self, low: int, high: int) -> int:
        """One integer in low..high, both included."""
        return int(self._state.randint(low, high + 1, dtype=np.int32))

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """int32 array of integers in low..high, both included."""
        drawn: NDArray[np.int32] = self._state.randint(low, high + 1, size=shape, dtype=np.int32)
        return drawn

    def percent(self, chance: int) -> bool:
        """True with a probability of `chance` per cent."""
        return self.integer(0, 99) < chance

    def permutation(self, count: int) -> tuple[int, ...]:
        """The numbers 0..count-1 in random order: the order of random keys, ties (rare) by number."""
        return tuple(np.argsort(self.integers(0, 2**31 - 2, (count,)), kind="stable").tolist())

    def noise(self, amplitude: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """Triangular noise (sum of two uniforms) in -amplitude..amplitude; int32 of `shape`."""
        count = int(np.prod(shape))
        raw = np.frombuffer(self._state.bytes(2 * count), np.uint8).astype(np.int32)
        return ((raw[:count] + raw[count:] - 255) * amplitude // 255).reshape(shape)
