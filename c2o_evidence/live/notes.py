"""Lines that C2O's Snakefile adds to Snakemake's log below `c2o run`, which reads it.

Snakemake announces a job by its message alone: `Job 7: train baseline, seed 0`. The line behind it says what it is, and
lines before the first job say what is planned; a wildcard that a job does not have is `-`:

      planned: train quick baseline 0 1
      job 7 is train quick baseline 0 logs/quick/train/baseline/seed0.log
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

_PLAN = re.compile(r"  planned: (\S+) (\S+) (\S+) (.+)")
_JOB = re.compile(r"  job (\d{1,9}) is (\S+) (\S+) (\S+) (\S+)(.*)")
_ABSENT = "-"


class JobKey(NamedTuple):
    """What tells the jobs of a build apart; a wildcard that a rule does not have is empty."""

    rule: str
    suite: str = ""
    experiment: str = ""
    seed: str = ""

    @classmethod
    def of(cls, rule: str, wildcards: Mapping[str, object]) -> JobKey:
        return cls(rule, *(str(wildcards.get(name, "")) for name in ("suite", "experiment", "seed")))


def plan_lines(plan: Iterable[JobKey]) -> Iterator[str]:
    """What is planned, one line for the seeds of an experiment."""
    for begin, keys in groupby(sorted(set(plan)), key=lambda key: key[:3]):
        yield f"  planned: {_words(begin)} {_words(key.seed for key in keys)}"


def job_line(jobid: object, key: JobKey, logs: Iterable[str]) -> str:
    """Which job was announced, and its logs (but one with a blank in its name)."""
    names = [name for name in logs if not re.search(r"\s", name)]
    return " ".join([f"  job {jobid} is {_words(key)}", *names])


def read_plan(line: str) -> list[JobKey]:
    """The jobs of a line of `plan_lines`; none of any other line."""
    match = _PLAN.fullmatch(line)
    if match is None:
        return []
    rule, suite, experiment, seeds = match.groups()
    return [JobKey(*_values([rule, suite, experiment, seed])) for seed in seeds.split()]


def read_job(line: str) -> tuple[str, JobKey, list[str]] | None:
    """Number, job and logs of a `job_line`; None of any other line."""
    match = _JOB.fullmatch(line)
    if match is None:
        return None
    jobid, *words, logs = match.groups()
    return jobid, JobKey(*_values(words)), logs.split()


def _words(values: Iterable[str]) -> str:
    return " ".join(value or _ABSENT for value in values)


def _values(words: Iterable[str]) -> list[str]:
    return ["" if word == _ABSENT else word for word in words]
