"""Snakemake's log events, as its logging interface hands them to handlers, told to a SnakemakeLog.

Each record has an `event` (a string) with the fields that belong to it:
snakemake_interface_logger_plugins.common.LogEvent, snakemake.logging. Records without one are what Snakemake says to
the user.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from c2o_evidence.live.notes import JobKey, job_line
from c2o_evidence.snakelog import JobBlock, SnakemakeLog


class EventReader(logging.Handler):
    """Tells a log what happens. `guard` is held meanwhile; `on_close` is called when Snakemake ends its logging."""

    def __init__(self, log: SnakemakeLog, on_close: Callable[[], None]) -> None:
        super().__init__(logging.INFO)
        self.log = log
        self.guard = threading.RLock()
        self._on_close = on_close
        self._closed = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            with self.guard:
                self.log.lines += 1
                _tell(self.log, record)
        except Exception:  # of logging handlers this is the custom: what goes wrong in one is shown, and no more
            self.handleError(record)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close()
        super().close()


class NoteWriter(logging.Handler):
    """Writes a line behind each announced job that says what it is, for the reader of Snakemake's log."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        if _event(record) == "job_info":
            with suppress(OSError):
                facts = vars(record)
                self._write(job_line(facts["jobid"], key_of(facts), facts["log"]))


def key_of(facts: Mapping[str, Any]) -> JobKey:
    """The job of an event: its rule and wildcards."""
    return JobKey.of(facts["rule_name"], facts.get("wildcards") or {})


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", None) or "")


def _tell(log: SnakemakeLog, record: logging.LogRecord) -> None:
    event, facts = _event(record), vars(record)
    if event == "job_info":
        jobid, key = str(facts["jobid"]), key_of(facts)
        log.job_began(
            jobid, JobBlock(key.rule, _fields(jobid, facts["rule_msg"], facts["log"], facts["wildcards"]), key)
        )
    elif event == "job_finished":
        log.job_finished(str(facts["job_id"]), "")
    elif event == "job_error":
        jobid = str(facts["jobid"])
        block = JobBlock(facts["rule_name"], _fields(jobid, facts["rule_msg"], facts["log"], {}))
        log.failed.append(block)
        log.job_failed(jobid, block)
    elif event == "progress":
        log.done, log.total = int(facts["done"]), int(facts["total"])
    elif not event and record.levelno < logging.ERROR:
        log.said(str(record.msg))
    elif event == "error" or (not event and record.levelno >= logging.ERROR):
        log.errors.append(str(record.msg))


def _fields(jobid: str, message: object, logs: Iterable[str], wildcards: Mapping[str, object]) -> dict[str, str]:
    fields = {"jobid": jobid, "message": str(message or "None"), "log": ", ".join(logs)}
    if wildcards:
        fields["wildcards"] = ", ".join(f"{name}={value}" for name, value in wildcards.items())
    return fields
