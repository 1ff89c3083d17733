"""Progress of a long check: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

PLAIN_INTERVAL_S = 15.0


class Plain:
    """A line when a piece of work has gone on for a while, and then one every `interval` seconds."""

    def __init__(self, stream: TextIO, interval: float = PLAIN_INTERVAL_S, clock: Callable[[], float] = time.monotonic):
        self.stream, self.interval, self.clock = stream, interval, clock

    @contextmanager
    def __call__(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        done, last = 0, self.clock()

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            now = self.clock()
            if now - last >= self.interval:
                last = now
                share = f" ({100 * done // total} %)" if total else ""
                print(f"{name}: {done} {unit}{share}", file=self.stream, flush=True)

        yield advance


class Quiet:
    """Nothing."""

    @contextmanager
    def __call__(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        yield lambda count: None


class Bars:
    """A bar of rich for each piece of work, gone when it is done."""

    @contextmanager
    def __call__(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(escape(name), total=total)
            yield lambda count: bars.advance(task, count)


def watcher(quiet: bool) -> Plain | Quiet | Bars:
    """What fits where standard error goes."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Plain(sys.stderr)
