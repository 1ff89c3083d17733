"""The SLURM job that this process runs in: when its time is over, and how to get it run again.

Outside of SLURM there is none. Nothing here decides a result; called by ``stopping``.
"""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass

ANSWER_S = 30.0  # that a controller may take
GOES_ON = ("RUNNING", "SIGNALING")  # the second while SLURM sends a signal that does not end the job


class RequeueRefused(RuntimeError):
    """SLURM does not run this job again. The message is what it said."""


@dataclass(frozen=True)
class Allocation:
    """A SLURM job by its number."""

    job: str

    @classmethod
    def current(cls) -> Allocation | None:
        """The job around this process, or None."""
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(job) if job.isascii() and job.isdigit() else None

    def look(self) -> tuple[str, float] | None:
        """State (RUNNING, COMPLETING, …) and end of the time limit (seconds since 1970; inf where there is no limit).

        None where SLURM does not answer, or no longer knows the job.
        """
        code, answer, _ = _ask("squeue", "--noheader", f"--jobs={self.job}", "--states=all", "--format=%T %e")
        words = answer.split()
        if code != 0 or len(words) != 2:
            return None
        return words[0], float(words[1]) if words[1].isdigit() else math.inf

    def requeue(self) -> bool:
        """Have SLURM end this job and run it again under its number; whether it will.

        It is left alone unless it goes on: otherwise SLURM is ending it already, because it was cancelled, preempted or
        is over its time, and knows what becomes of it.

        Raises:
            RequeueRefused: SLURM says no, or nothing.
        """
        seen = self.look()
        if seen is None or seen[0] not in GOES_ON:
            return False
        code, _, error = _ask("scontrol", "requeue", self.job)
        if code != 0:
            raise RequeueRefused(" ".join(error.split()) or f"scontrol requeue: exit status {code}")
        return True


def _ask(*command: str) -> tuple[int, str, str]:
    """Exit status of a command of SLURM, and what it prints, with times as seconds since 1970, and what to stderr."""
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, "", str(error)
    return done.returncode, done.stdout, done.stderr
