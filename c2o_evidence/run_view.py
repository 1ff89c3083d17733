"""How `c2o run` shows a build: a live view on a terminal, plain timestamped lines in a pipe or in CI."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from c2o_evidence.progress import TrainingProgress, format_duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

PLAIN_INTERVAL_S = 15.0


@dataclass(frozen=True)
class BuildState:
    """What there is to show at one moment.

    `left_s` is None while nothing can be said about the remaining time; `queue` is a line about the cluster's queue.
    """

    fraction: float
    left_s: float | None
    elapsed_s: float
    steps_done: int
    steps_total: int
    running: Sequence[str]
    training: Sequence[TrainingProgress]
    phase: str
    queue: str = ""

    def without_progress(self) -> list[str]:
        """Running jobs that no training line speaks of: other stages, and trainings that are starting."""
        told = [f"{item.experiment}, seed {item.seed}" for item in self.training]
        return [name for name in self.running if not any(text in name for text in told)]


class View(Protocol):
    def update(self, state: BuildState) -> None: ...

    def close(self) -> None: ...


def training_line(item: TrainingProgress) -> str:
    """`distill_20to1 seed 2: 300/500, loss 1.234, 0.31 s/it, 1m02s left`."""
    loss = "" if item.loss is None else f", loss {item.loss:.3f}"
    return (
        f"{item.experiment} seed {item.seed}: {item.iteration}/{item.total}{loss}, "
        f"{item.seconds_per_iteration:.2f} s/it, {format_duration(item.eta_s)} left"
    )


def _remaining(state: BuildState) -> str:
    return "" if state.left_s is None else f"about {format_duration(state.left_s)} left"


class PlainView:
    """One line now and then, and one whenever a step has finished; nothing that needs a terminal."""

    def __init__(self, stream: TextIO, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._last = float("-inf")
        self._phase = ""

    def update(self, state: BuildState) -> None:
        now = time.monotonic()
        if state.phase == self._phase and now - self._last < self._interval_s:
            return
        self._last, self._phase = now, state.phase
        parts = [state.phase]
        if state.steps_total:
            parts = [
                f"{100 * state.fraction:3.0f} %",
                f"step {state.steps_done}/{state.steps_total}",
                _remaining(state),
            ]
            parts += [state.queue]
            parts += [training_line(item) for item in state.training]
            parts += state.without_progress()
        text = " | ".join(part for part in parts if part)
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=self._stream, flush=True)

    def close(self) -> None:
        pass


class RichView:
    """A bar over the whole build with the remaining time, and one line a running training."""

    def __init__(self, title: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._title = title
        self._live: Live = Live(console=Console(file=stream), refresh_per_second=4, transient=True)
        self._live.start()

    def update(self, state: BuildState) -> None:
        self._live.update(self._render(state))

    def _render(self, state: BuildState) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True, justify="right")
        tail = f"{100 * state.fraction:.0f} %  {_remaining(state)}".rstrip()
        head.add_row(Text(self._title, style="bold"), ProgressBar(total=1.0, completed=state.fraction), tail)
        steps = f"step {state.steps_done} of {state.steps_total}" if state.steps_total else state.phase
        note = Text(f"{steps}, {format_duration(state.elapsed_s)} so far", style="dim")
        body = Table.grid(padding=(0, 1), expand=True)
        body.add_column(no_wrap=True)
        body.add_column(ratio=1)
        body.add_column(no_wrap=True)
        for item in state.training:
            loss = "" if item.loss is None else f"loss {item.loss:.3f}"
            numbers = f"{item.iteration}/{item.total}  {loss}  {format_duration(item.eta_s)} left"
            bar = ProgressBar(total=1.0, completed=item.fraction, style="grey23")
            body.add_row(f"  {item.experiment} seed {item.seed}", bar, numbers)
        others = [Text(f"  {name}") for name in state.without_progress()]
        queue = [Text(f"  {state.queue}", style="dim")] if state.queue else []
        return Group(head, note, *queue, body, *others)

    def close(self) -> None:
        self._live.stop()


def make_view(title: str, stream: TextIO) -> View:
    """The live view if `stream` is a terminal, else plain lines."""
    if stream.isatty():
        return RichView(title, stream)
    return PlainView(stream)
