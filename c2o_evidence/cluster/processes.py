"""What the processes of a driver do, from /proc; where there is none, nothing is known and nothing is concluded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SPEAKING = frozenset(["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "srun", "which", "sh"])


@dataclass(frozen=True)
class Process:
    """A living process: `state` is the letter of the kernel, `T` for stopped."""

    pid: int
    session: int
    state: str
    command: str


def processes() -> Iterator[Process]:
    """All that live; a process that ends meanwhile is left out."""
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            text = stat.read_text("utf-8", errors="replace")
        except OSError:
            continue
        head, _, rest = text.rpartition(")")
        fields = rest.split()
        if len(fields) > 3 and fields[0] not in "ZX":
            yield Process(int(stat.parent.name), int(fields[3]), fields[0], head.partition("(")[2])


def is_stopped(pid: int) -> bool:
    """Whether a signal (SIGSTOP) or a debugger holds the process."""
    return any(process.pid == pid and process.state in "Tt" for process in processes())


def works_here(pid: int) -> bool:
    """Whether the leader of a session has a job running on this machine, not only commands that speak with SLURM."""
    return any(
        process.session == pid and process.pid != pid and process.command not in SPEAKING for process in processes()
    )


def submitting(digest: str) -> list[int]:
    """Processes of `sbatch` about to submit a job with this digest in its name: a killed driver leaves them."""
    found = []
    for process in processes():
        if process.command != "sbatch" or process.pid == os.getpid():
            continue
        try:
            arguments = (PROC / str(process.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(f"-{digest}_".encode() in argument for argument in arguments[:8]):
            found.append(process.pid)
    return found
