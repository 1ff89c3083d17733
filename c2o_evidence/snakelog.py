"""Reading Snakemake's log while it runs: which jobs run, are done, or have failed, and where their logs are.

Snakemake announces a job by the rule's own message (`Job N: MESSAGE`), or by a block (`rule NAME:` or
`localrule NAME:` with indented `key: value` lines); then come `Finished jobid: N (Rule: NAME)` and
`X of Y steps (Z%) done`. A failure is a block `Error in rule NAME:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_START = re.compile(r"(?:local)?(?:rule|checkpoint) ([\w.]+):")
_ERROR = re.compile(r"Error in (?:local)?rule ([\w.]+)[:,]")
_MESSAGE = re.compile(r"Job (\d{1,9}): (.*)")
_FINISHED = re.compile(r"Finished jobid: (\d{1,9})")
_STEPS = re.compile(r"(\d{1,9}) of (\d{1,9}) steps \(.*\) done")
_CORES = re.compile(r"Provided (?:cores|remote nodes): (\d{1,9})")  # the nodes of a cluster are said last
_NOT_SUBMITTED = "SLURM sbatch failed."
_TOTAL = re.compile(r"total\s+(\d{1,9})")
_FIELD = re.compile(r" {4}(\w+): (.*)")
_LOG_NOTE = " (check log file(s) for error details)"


@dataclass
class JobBlock:
    """One job as Snakemake announced it."""

    rule: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def wildcards(self) -> str:
        return self.fields.get("wildcards", "")

    @property
    def logs(self) -> list[str]:
        text = self.fields.get("log", "").removesuffix(_LOG_NOTE)
        return [name.strip() for name in text.split(",") if name.strip()]

    def __str__(self) -> str:
        message = self.fields.get("message", "None")
        about = message if message != "None" else self.wildcards
        return f"{self.rule} ({about})" if about else self.rule


@dataclass
class SnakemakeLog:
    """What the log says so far. `feed` takes one line at a time.

    `lines` counts them; `submissions_failed` are those with what sbatch said.
    """

    lines: int = 0
    cores: int = 1
    total: int = 0
    done: int = 0
    running: dict[str, JobBlock] = field(default_factory=dict)
    failed: list[JobBlock] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    submissions_failed: list[str] = field(default_factory=list)
    _block: JobBlock | None = None
    _in_error: bool = False

    def feed(self, line: str) -> None:
        self.lines += 1
        line = line.rstrip()
        if _NOT_SUBMITTED in line:
            self.submissions_failed.append(line)
        if self._block is not None:
            match = _FIELD.match(line)
            if match:
                key, value = match.groups()
                self._block.fields[key] = value
                if key == "jobid":
                    self._file_block(value)
                return
            if line.startswith(" "):
                return
            self._block = None
        if match := _ERROR.match(line):
            self._block = JobBlock(match.group(1))
            self._in_error = True
            self.failed.append(self._block)
        elif match := _START.fullmatch(line):
            self._block = JobBlock(match.group(1))
            self._in_error = False
        elif match := _MESSAGE.fullmatch(line):
            self.running[match.group(1)] = JobBlock(match.group(2))
        elif match := _FINISHED.match(line):
            self.running.pop(match.group(1), None)
        elif match := _STEPS.match(line):
            self.done, self.total = int(match.group(1)), int(match.group(2))
        elif match := _CORES.match(line):
            self.cores = int(match.group(1))
        elif match := _TOTAL.fullmatch(line):
            self.total = int(match.group(1))
        elif line.startswith("Error: "):
            self.errors.append(line)

    def _file_block(self, jobid: str) -> None:
        assert self._block is not None
        if self._in_error:
            known = self.running.pop(jobid, None)
            if known is not None:
                self._block.fields = {**known.fields, **self._block.fields}
        else:
            self.running[jobid] = self._block
