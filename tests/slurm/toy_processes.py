"""The processes of a cluster for tests: each carries a mark in its environment, by which all of them are found.

As a program (`toy_processes.py ROOT`) it is the cluster's guard: when its standard input ends, because the
tests that started it are gone, even by SIGKILL, it kills what is left of the cluster.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "C2O_TOY_CLUSTER"  # in the environment of daemons and jobs: the cluster's directory
NODE = "C2O_TOY_NODE"  # in that of a node's daemon and its job steps


def _environment(pid: str) -> dict[bytes, bytes]:
    try:
        lines = Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(line.split(b"=", 1) for line in lines if b"=" in line)


def marked(root: Path, node: str | None = None) -> set[int]:
    """The processes of the cluster in `root`, or only a node's: its daemon, its job steps and what runs in them."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        environment = _environment(pid)
        if environment.get(MARK.encode()) != str(root).encode():
            continue
        nodes = (environment.get(NODE.encode()), environment.get(b"SLURMD_NODENAME"))
        if node is None or node.encode() in nodes:
            found.add(int(pid))
    return found - {os.getpid()}


def kill(root: Path, node: str | None = None) -> None:
    """SIGKILL to all that `marked` finds, until it finds nothing."""
    for _ in range(100):
        found = marked(root, node)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
    raise TimeoutError(f"processes of the SLURM cluster in {root} do not die: {found}")


def guard(root: Path) -> None:
    sys.stdin.buffer.read()
    kill(root)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
