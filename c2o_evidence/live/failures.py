"""What to tell of failed jobs: the rule, the end of its log, and the command to look deeper."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from c2o_evidence.live.state import Failure
from c2o_evidence.snakelog import JobBlock, SnakemakeLog

TAIL_LINES = 15
MOST = 3


def last_lines(path: Path, count: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, read from its end; empty if there is no such file."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 64 * 1024))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def failure_of(block: JobBlock, root: Path, count: int = TAIL_LINES) -> Failure:
    """A failed job with the last lines of its logs."""
    logs = [(name, last_lines(root / name, count)) for name in block.logs]
    return Failure(str(block), logs, f"less {shlex.quote(block.logs[0])}" if block.logs else "")


def explain_failure(
    log: SnakemakeLog, root: Path, log_path: Path | None, again: str, *, tails: bool = True
) -> list[str]:
    """What to tell the user after a failed build: the failing rules, the ends of their logs, and where to look
    deeper. `log_path` holds all that was printed; `again` is the command that was typed.
    """
    lines: list[str] = []
    failures = [failure_of(block, root) for block in log.failed[:MOST]]
    for failure in failures:
        lines += failure_lines(failure) if tails else [f"failed: {failure.name}"]
    if len(log.failed) > MOST:
        lines.append(f"… and {len(log.failed) - MOST} more jobs failed")
    if not log.failed and tails:
        lines += log.errors or [f"  {line}" for line in last_lines(log_path)] if log_path else log.errors
    if log_path is not None:
        lines.append(f"the whole output: {log_path.relative_to(root) if log_path.is_relative_to(root) else log_path}")
    if failures:
        lines.append(f"look deeper:      {failures[0].look or f'{again} --verbose'}")
    lines.append(f"what is done is kept: `{again}` goes on from here")
    return lines


def failure_lines(failure: Failure) -> list[str]:
    """A failure in plain lines."""
    lines = [f"failed: {failure.name}"]
    for name, tail in failure.logs:
        lines.append(f"  the last lines of {name}:")
        lines += [f"    {line}" for line in tail] or ["    (the log is empty)"]
    return lines
