"""Snakemake's log and its log events tell the same: one is read from a pipe, the other comes by its logging."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from c2o_evidence.live.events import EventReader, NoteWriter
from c2o_evidence.live.notes import JobKey, job_line, plan_lines, read_job, read_plan
from c2o_evidence.snakelog import SnakemakeLog

PLAN = [JobKey("train", "toy", "base", "0"), JobKey("train", "toy", "base", "1"), JobKey("tables", "toy")]
STATS = "Job stats:\njob       count\n------  -------\ntrain         2\ntables        1\ntotal         3\n"
WORD = st.text("abcXYZ019_", min_size=1, max_size=8)
KEY = st.builds(JobKey, WORD, WORD | st.just(""), WORD | st.just(""), st.integers(0, 99).map(str) | st.just(""))


@given(st.lists(KEY, max_size=20))
def test_a_plan_is_read_back_as_it_was_written(plan: list[JobKey]) -> None:
    assert {key for line in plan_lines(plan) for key in read_plan(line)} == set(plan)
    assert all(read_job(line) is None for line in plan_lines(plan))


@given(st.integers(0, 10**8), KEY, st.lists(st.text("ab/.0_-", min_size=1, max_size=9), max_size=3))
def test_a_job_is_read_back_as_it_was_written(jobid: int, key: JobKey, logs: list[str]) -> None:
    line = job_line(jobid, key, logs)
    assert read_job(line) == (str(jobid), key, logs)
    assert read_plan(line) == []


def test_notes_as_a_person_reads_them() -> None:
    assert list(plan_lines(PLAN)) == ["  planned: tables toy - -", "  planned: train toy base 0 1"]
    assert job_line(7, PLAN[1], ["logs/a.log", "logs/b c.log"]) == "  job 7 is train toy base 1 logs/a.log"


def record(event: LogEvent | None, message: str | None = None, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, message, (), None)
    vars(made).update(facts, event=event)
    return made


def job(event: LogEvent, jobid: int, rule: str, message: str | None, **wildcards: str) -> logging.LogRecord:
    facts: dict[str, object] = {"local": False, "is_checkpoint": False, "input": [], "output": ["o"], "benchmark": None}
    facts |= {
        "priority": 0,
        "threads": 1,
        "resources": {},
        "reason": "",
        "shellcmd": None,
        "aux": {},
        "conda_env": None,
    }
    facts |= {"jobid": jobid, "rule_name": rule, "rule_msg": message, "log": [f"logs/{jobid}.log"]}
    return record(event, f"{rule} {jobid}", **facts, wildcards=wildcards, indent=False)


def happenings() -> list[logging.LogRecord]:
    return [
        record(LogEvent.RUN_INFO, STATS, stats={}),
        job(LogEvent.JOB_INFO, 1, "train", "train base, seed 0", suite="toy", experiment="base", seed="0"),
        job(LogEvent.JOB_INFO, 2, "train", "train base, seed 1", suite="toy", experiment="base", seed="1"),
        record(LogEvent.JOB_FINISHED, "Finished jobid: 1 (Rule: train)", job_id=1),
        record(LogEvent.PROGRESS, None, done=1, total=3),
        job(LogEvent.JOB_ERROR, 2, "train", None),
        job(LogEvent.JOB_INFO, 0, "tables", "make the tables", suite="toy"),
    ]


def tell(records: list[logging.LogRecord], how: str) -> SnakemakeLog:
    log = SnakemakeLog(total=3, counts={"train": 2, "tables": 1}, plan=set(PLAN))
    reader = EventReader(log, lambda: None)
    if how == "events":
        for one in records:
            reader.emit(one)
        return log
    log = SnakemakeLog()
    lines = list(plan_lines(PLAN))
    writer, formatter = NoteWriter(lines.append), DefaultFormatter(quiet=set())
    for one in records:
        lines += formatter.format(one).splitlines()
        writer.emit(one)
    for line in lines:
        log.feed(line)
    return log


@pytest.mark.parametrize("how", ["events", "lines"])
def test_what_has_happened_is_known(how: str) -> None:
    log = tell(happenings(), how)
    assert (log.done, log.total, log.counts) == (1, 3, {"train": 2, "tables": 1})
    assert log.finished == {PLAN[0]} and log.unfinished() == {PLAN[1], PLAN[2]}
    (running,) = log.running.values()
    assert (running.rule, running.about, running.key) == ("tables", "make the tables", PLAN[2])
    (failed,) = log.failed
    assert (str(failed), failed.key, failed.logs) == ("train (train base, seed 1)", PLAN[1], ["logs/2.log"])
    assert (log.spans["train"].done, log.running_of("tables"), log.failed_of("train")) == (1, 1, 1)


@pytest.mark.parametrize("how", ["events", "lines"])
def test_a_job_that_is_tried_again_has_not_failed(how: str) -> None:
    log = tell([*happenings(), happenings()[2]], how)
    assert not log.failed and {block.about for block in log.running.values()} == {
        "make the tables",
        "train base, seed 1",
    }


@pytest.mark.parametrize("how", ["events", "lines"])
def test_an_interrupt_is_noticed(how: str) -> None:
    said = record(None, "Terminating processes on user request, this might take some time.")
    assert tell(happenings(), how).interrupted is False
    assert tell([*happenings(), said], how).interrupted is True


def test_a_record_that_is_not_as_expected_hurts_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    reader = EventReader(SnakemakeLog(), lambda: None)
    reader.emit(record(LogEvent.JOB_INFO, "no facts"))
    assert "KeyError" in capsys.readouterr().err
