"""Descriptors that processes started by multiprocessing get, so that a device stays taken while one of them lives.

A lock made by flock is held as long as any process has the descriptor. A fork copies all of them; `spawn` closes them
in the child but for those that it is told to pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from multiprocessing import util
from typing import Any

_kept: set[int] = set()
_original = util.spawnv_passfds


def keep_in_spawned(descriptors: Iterable[int]) -> None:
    """Pass these too to every process that multiprocessing spawns from now on."""
    _kept.update(descriptors)
    util.spawnv_passfds = _spawn


def stop_keeping(descriptors: Iterable[int]) -> None:
    """Pass them no more; they are about to be closed."""
    _kept.difference_update(descriptors)


def _spawn(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
    return _original(path, args, sorted({*passfds, *_kept}))
