"""That no process of a group outlives the one that watches it: what is begun again never meets the writers of what was
killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(whose: str) -> None:
    """Have Linux kill this process when its parent dies. ``whose`` is told where that has happened already."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(f"{whose} ended before this process began")
