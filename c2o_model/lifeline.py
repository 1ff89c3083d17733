"""That no process outlives the one that started it: what is begun again never meets the writers of what was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def signal_at_end_of_parent(number: int = signal.SIGKILL) -> None:
    """Have Linux send this process a signal when its parent ends; whoever asks looks itself whether it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def end_with_parent(whose: str, parent: int | None = None) -> None:
    """Have Linux kill this process when its parent ends. ``whose`` is told where that has happened already.

    ``parent``: the number of its process, where it is known; else one that ended before this call is not noticed.
    """
    parent = os.getppid() if parent is None else parent
    signal_at_end_of_parent()
    if os.getppid() != parent:
        sys.exit(f"{whose} ended before this process began")
