"""What a running Snakemake has said: which jobs it planned, which run, are done or have failed, where their logs are.

Read from its log a line at a time (`feed`), or told by its log events (live/events.py). In the log Snakemake announces
a job by the rule's own message (`Job N: MESSAGE`), or by a block (`rule NAME:` or `localrule NAME:` with indented
`key: value` lines); then come `Finished jobid: N (Rule: NAME)` and `X of Y steps (Z%) done`. A failure is a block
`Error in rule NAME:`. What that leaves open C2O's own Snakefile adds below it (live/notes.py): what is planned, and
which rule, wildcards and logs a job has.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from c2o_evidence.live.notes import JobKey, read_job, read_plan

_START = re.compile(r"(?:local)?(?:rule|checkpoint) ([\w.]+):")
_ERROR = re.compile(r"Error in (?:local)?rule ([\w.]+)[:,]")
_MESSAGE = re.compile(r"Job (\d{1,9}): (.*)")
_FINISHED = re.compile(r"Finished jobid: (\d{1,9})(?: \(Rule: ([\w.]+)\))?")
_STEPS = re.compile(r"(\d{1,9}) of (\d{1,9}) steps \(.*\) done")
_CORES = re.compile(r"Provided (?:cores|remote nodes): (\d{1,9})")  # the nodes of a cluster are said last
_NOT_SUBMITTED = "SLURM sbatch failed."
_STATS = re.compile(r"(\w+) +(\d{1,9})")
_FIELD = re.compile(r" {4}(\w+): (.*)")
_LOG_NOTE = " (check log file(s) for error details)"
_STOPPING = "Terminating processes on user request"


@dataclass
class JobBlock:
    """One job as Snakemake announced it; the rule is empty where only its message is known.

    `key` tells it apart from the others, if that was said; `began` is by the monotonic clock.
    """

    rule: str
    fields: dict[str, str] = field(default_factory=dict)
    key: JobKey | None = None
    began: float = field(default_factory=time.monotonic, compare=False)

    @property
    def wildcards(self) -> str:
        return self.fields.get("wildcards", "")

    @property
    def logs(self) -> list[str]:
        text = self.fields.get("log", "").removesuffix(_LOG_NOTE)
        return [name.strip() for name in text.split(",") if name.strip()]

    @property
    def about(self) -> str:
        """The rule's message, or the wildcards."""
        message = self.fields.get("message", "None")
        return message if message != "None" else self.wildcards

    def __str__(self) -> str:
        if not self.rule:
            return self.about
        return f"{self.rule} ({self.about})" if self.about else self.rule


@dataclass
class Span:
    """The jobs of a rule that have begun: how many are done, and from when to when the rule was at work."""

    done: int = 0
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0


@dataclass
class SnakemakeLog:
    """What the log says so far. `feed` takes one line at a time.

    `lines` counts them; `submissions_failed` are those with what sbatch said. `counts` are the planned jobs of each
    rule, `plan` the jobs themselves as far as they were said, of which `finished` are done.
    """

    lines: int = 0
    cores: int = 1
    total: int = 0
    done: int = 0
    interrupted: bool = False
    running: dict[str, JobBlock] = field(default_factory=dict)
    failed: list[JobBlock] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    submissions_failed: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    plan: set[JobKey] = field(default_factory=set)
    finished: set[JobKey] = field(default_factory=set)
    spans: dict[str, Span] = field(default_factory=dict)
    _block: JobBlock | None = None
    _in_error: bool = False
    _in_stats: bool = False

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
            if line.startswith(" ") and not line.startswith("  job "):
                return
            self._block = None
        if self._in_stats and (match := _STATS.fullmatch(line)):
            self._count(match.group(1), int(match.group(2)))
        elif match := _ERROR.match(line):
            self._block = JobBlock(match.group(1))
            self._in_error = True
            self.failed.append(self._block)
        elif match := _START.fullmatch(line):
            self._block = JobBlock(match.group(1))
            self._in_error = False
        elif match := _MESSAGE.fullmatch(line):
            self.job_began(match.group(1), JobBlock("", {"message": match.group(2), "jobid": match.group(1)}))
        elif match := _FINISHED.match(line):
            self.job_finished(match.group(1), match.group(2) or "")
        elif match := _STEPS.match(line):
            self.done, self.total = int(match.group(1)), int(match.group(2))
        elif match := _CORES.match(line):
            self.cores = int(match.group(1))
        elif line == "Job stats:":
            self._in_stats = True
        elif line.startswith("Error: "):
            self.errors.append(line)
        elif line.startswith("  "):
            self._read_note(line)
        else:
            self.said(line)

    def said(self, line: str) -> None:
        """Something that Snakemake says to the user, who may have interrupted it."""
        if line.startswith(_STOPPING):
            self.interrupted = True

    def job_began(self, jobid: str, block: JobBlock) -> None:
        """A job was announced; where it had failed before, that is over: it is tried again."""
        self.running[jobid] = block
        self.failed = [one for one in self.failed if one.fields.get("jobid") != jobid]
        if block.rule:
            self.spans.setdefault(block.rule, Span(began=block.began))

    def job_finished(self, jobid: str, rule: str) -> None:
        block = self.running.pop(jobid, None)
        if block is not None:
            rule = rule or block.rule
            if block.key is not None:
                self.finished.add(block.key)
        if rule:
            span = self.spans.setdefault(rule, Span(began=block.began if block else time.monotonic()))
            span.done, span.ended = span.done + 1, time.monotonic()

    def job_failed(self, jobid: str, block: JobBlock) -> None:
        """A job has failed; what was said when it began is added to `block`."""
        known = self.running.pop(jobid, None)
        if known is not None:
            block.fields = {**known.fields, **block.fields}
            block.key = block.key or known.key
        if block.fields.get("message") == "None" and known is not None:
            block.fields["message"] = known.about or "None"

    def running_of(self, rule: str) -> int:
        return sum(block.rule == rule for block in self.running.values())

    def failed_of(self, rule: str) -> int:
        return sum(block.rule == rule for block in self.failed)

    def unfinished(self) -> set[JobKey]:
        return self.plan - self.finished

    def _count(self, rule: str, count: int) -> None:
        if rule == "total":
            self.total, self._in_stats = count, False
        else:
            self.counts[rule] = count

    def _read_note(self, line: str) -> None:
        if keys := read_plan(line):
            self.plan.update(keys)
        elif found := read_job(line):
            jobid, key, logs = found
            known = self.running.get(jobid)  # not so in a group of jobs, where Snakemake indents what it says
            message = {"message": known.about} if known else {}
            self.job_began(jobid, JobBlock(key.rule, {"jobid": jobid, "log": ", ".join(logs), **message}, key))

    def _file_block(self, jobid: str) -> None:
        assert self._block is not None
        if self._in_error:
            self.job_failed(jobid, self._block)
        else:
            self.job_began(jobid, self._block)
