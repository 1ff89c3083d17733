"""What a SLURM job's processes ask, answered by scripts: no SLURM is needed."""

import os
from pathlib import Path

import pytest

SQUEUE = '#!/bin/sh\necho "$@" "$SLURM_TIME_FORMAT" >> {asked}\ncat {answer}\n'
SCONTROL = '#!/bin/sh\necho "$@" >> {told}\necho "not for job $2" >&2\nexit $(cat {status})\n'


class Slurm:
    """Stand-ins for squeue and scontrol first on PATH; the job around this process has number 12."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self.answer, self.status = place / "answer", place / "status"
        self._asked, self._told = place / "asked", place / "told"
        for name, text in (("squeue", SQUEUE), ("scontrol", SCONTROL)):
            program = place / name
            program.write_text(text.format(answer=self.answer, status=self.status, asked=self._asked, told=self._told))
            program.chmod(0o755)
        self.now = 0.0  # for tests with a clock of their own
        self.says("RUNNING", 2000)
        self.status.write_text("0")
        patch.setenv("PATH", str(place), prepend=os.pathsep)
        patch.setenv("SLURM_JOB_ID", "12")

    def says(self, state: str, end: object) -> None:
        self.answer.write_text(f"{state} {end}\n")

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []

    @property
    def told(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []
