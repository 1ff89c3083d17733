"""The views of a build: a live one on a terminal, plain timestamped lines in a pipe, in CI or on a dumb terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from c2o_evidence.live.state import BuildState, job_text

VIEW = "C2O_VIEW"  # in the environment: `plain` lines on a terminal too, or, of `snakemake`, `off`
OFF = "off"
PLAIN = "plain"
PLAIN_INTERVAL_S = 15.0
MOST_JOBS = 12  # in one plain line


class View(Protocol):
    def update(self, state: BuildState) -> None: ...

    def close(self) -> None: ...


class PlainView:
    """One line now and then, and one whenever the phase changes; nothing that needs a terminal.

    `beside`: another one tells of the steps, so the first line has time.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        interval_s: float = PLAIN_INTERVAL_S,
        *,
        beside: bool = False,
    ) -> None:
        self._write = write
        self._interval_s = interval_s
        self._last = time.monotonic() if beside else float("-inf")
        self._phase = ""
        self._beside = beside

    def update(self, state: BuildState) -> None:
        now = time.monotonic()
        if (state.phase == self._phase or self._beside) and now - self._last < self._interval_s:
            return
        self._last, self._phase = now, state.phase
        self._write(f"{time.strftime('%H:%M:%S')}  {plain_line(state)}")

    def close(self) -> None:
        pass


def plain_line(state: BuildState) -> str:
    """A moment of a build in one line."""
    if not state.steps_total:
        return state.phase
    parts = [
        f"{100 * state.fraction:3.0f} %",
        f"step {state.steps_done}/{state.steps_total}",
        state.remaining,
        state.queue,
    ]
    parts += [job_text(job) for job in state.running[:MOST_JOBS]]
    parts += [f"and {len(state.running) - MOST_JOBS} more"] if len(state.running) > MOST_JOBS else []
    failed = len(state.failures) + state.more_failures
    parts += [f"{failed} failed"] if failed else []
    return " | ".join(part for part in parts if part)


def is_terminal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal that can move its cursor, and the user lets us."""
    if environment.get(VIEW) in (PLAIN, OFF) or environment.get("TERM") in ("dumb", "unknown"):
        return False
    return stream.isatty()


def make_view(title: str, stream: TextIO) -> View:
    """The live view if `stream` is a terminal, else plain lines."""
    if is_terminal(stream):
        from c2o_evidence.live.screen import LiveView

        return LiveView(title, stream)
    return PlainView(lambda text: print(text, file=stream, flush=True))
