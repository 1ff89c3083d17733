"""The live view on a terminal: the stages of the DAG, the running jobs, what has failed, as far as there is room."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from c2o_evidence.live.state import BuildState, Failure, JobLine, Stage
from c2o_evidence.printable import printable
from c2o_evidence.progress import format_duration

NARROW = 76  # columns below which a job has two lines
LOW = 20  # lines below which only what says most is shown
STYLES = {"done": "green", "running": "cyan", "failed": "bold red", "waiting": "dim"}
BAR = 10  # cells, of a training
LEAST_JOBS = 3  # running jobs that have room before the table of stages has it


class LiveView:
    """Draws each state over the one before; gone when it is closed."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self.console = Console(file=stream)
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        self.console.show_cursor(True)  # so that it is there whatever ends this process

    def update(self, state: BuildState) -> None:
        size = terminal_size(self._stream)
        if size is not None:  # rich looks at stdin, stdout and stderr, which may lead elsewhere
            self.console.size = ConsoleDimensions(*size)
        width, height = self.console.size
        self._live.update(render(self._title, state, width, height - 1), refresh=True)

    def close(self) -> None:
        self._live.stop()


def terminal_size(stream: TextIO) -> tuple[int, int] | None:
    """Columns and lines of the terminal behind a stream, if it says them."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return None
    return (size.columns, size.lines) if size.columns and size.lines else None


def render(title: str, state: BuildState, width: int, height: int) -> Group:
    """The view in `width` columns and at most `height` lines, as far as the least of it fits into them."""
    lines: list[RenderableType] = [*_head(title, state, width)]
    foot = _foot(state) if height >= LOW else _foot(state)[-1:]
    failures = _failures(state, max(5, height // 3))
    room = height - len(lines) - len(foot) - len(failures)
    per_job = 1 if width >= NARROW else 2
    wanted = min(LEAST_JOBS, len(state.running)) * per_job + 2
    lines += _stages(state.stages, room - wanted)
    room = height - len(lines) - len(foot) - len(failures) - 2 * bool(state.running)
    lines += _running(state.running, max(1, room // per_job), width)
    return Group(*lines, *failures, *foot)


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


def _bar(fraction: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=fraction, complete_style="cyan", finished_style="green")


def _head(title: str, state: BuildState, width: int) -> list[RenderableType]:
    percent = f"{100 * state.fraction:.0f} %"
    so_far = f"{format_duration(state.elapsed_s)} so far"
    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(no_wrap=True, max_width=max(8, width // 3))
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(_line(title, "bold"), _bar(state.fraction), percent)
    steps = f"step {state.steps_done} of {state.steps_total}" if state.steps_total else state.phase
    parts = [steps, so_far, state.remaining if state.steps_total else ""]
    lines: list[RenderableType] = [head, _line(", ".join(part for part in parts if part), "dim")]
    return [*lines, _line(state.queue, "dim")] if state.queue else lines


def _stages(stages: Sequence[Stage], room: int) -> list[RenderableType]:
    """A line for each stage, below a blank one and a header; where there is no room, those at work and a summary."""
    if not stages:
        return []
    shown, rest = list(stages), ""
    if len(stages) + 2 > room:
        shown = [stage for stage in stages if stage.state in ("running", "failed")]
        told = ((state, [stage.name for stage in stages if stage.state == state]) for state in ("done", "waiting"))
        rest = "; ".join(f"{state}: {', '.join(names)}" for state, names in told if names)
        shown = shown[: max(0, room - 3)]
    lines: list[RenderableType] = [_line("")]
    if shown:
        name = max(len("stage"), *(len(stage.name) for stage in shown))
        jobs = max(len("jobs"), *(len(f"{stage.done}/{stage.total}") for stage in shown))
        lines.append(_line(f"{'stage':<{name}}  {'jobs':>{jobs}}  {'state':<10}  time", "dim"))
        lines += [_stage(stage, name, jobs) for stage in shown]
    return [*lines, _line(rest, "dim")] if rest else lines


def _stage(stage: Stage, name: int, jobs: int) -> Text:
    count = {"running": stage.running, "failed": stage.failed}.get(stage.state, 0)
    state = f"{stage.state} {count}" if count else stage.state
    took = format_duration(stage.seconds) if stage.done or stage.running or stage.failed else ""
    line = Text(f"{printable(stage.name):<{name}}  ", no_wrap=True, overflow="ellipsis")
    line.append(f"{f'{stage.done}/{stage.total}':>{jobs}}  ")
    return line.append(f"{state:<10}", STYLES[stage.state]).append(f"  {took}")


def _running(jobs: Sequence[JobLine], most: int, width: int) -> list[RenderableType]:
    """Below a blank line and a header, a line for each running job (two in a narrow terminal), `most` of them."""
    if not jobs:
        return []
    shown = jobs if len(jobs) <= most else jobs[: max(1, most - 1)]
    more = [_line(f"… and {len(jobs) - len(shown)} more", "dim")] if len(shown) < len(jobs) else []
    if width < NARROW:
        lines = [line for job in shown for line in (_line(job.name), _line(f"  {_numbers(job)}", "cyan"))]
        return [_line(""), _line("running", "dim"), *lines, *more]
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 3)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_row(*(Text(name, "dim") for name in ("running", "", "left")))
    for job in shown:
        table.add_row(_line(job.name), _so_far(job), _left(job))
    return [_line(""), table, *more]


def _so_far(job: JobLine) -> Text:
    """`━━━━━╺━━━━ 120/200  loss 1.234  AP 41.3`, or what is known of the AP."""
    item = job.training
    if item is None:
        return _line(job.ap)
    done = round(BAR * item.fraction)
    line = Text(no_wrap=True, overflow="ellipsis").append("━" * done, "cyan").append("━" * (BAR - done), "dim")
    line.append(f" {item.iteration}/{item.total}").append(f"  loss {_loss(job)}" if _loss(job) else "")
    return line.append(f"  AP {_ap(job)}" if _ap(job) else "")


def _loss(job: JobLine) -> str:
    return "" if job.training is None or job.training.loss is None else f"{job.training.loss:.3f}"


def _ap(job: JobLine) -> str:
    if job.training is not None and job.training.ap is not None:
        return f"{job.training.ap:.1f}"
    return job.ap


def _left(job: JobLine) -> str:
    left = job.left_s if job.training is None else job.training.eta_s
    return "" if left is None else format_duration(left)


def _numbers(job: JobLine) -> str:
    item = job.training
    parts = [] if item is None else [f"{item.iteration}/{item.total}"]
    parts += [f"loss {_loss(job)}"] if _loss(job) else []
    ap = _ap(job)
    parts += [ap if ap.startswith("AP") else f"AP {ap}"] if ap else []
    parts += [f"{_left(job)} left"] if _left(job) else []
    return ", ".join(parts) or "at work"


def _failures(state: BuildState, room: int) -> list[RenderableType]:
    """What has failed, each with the last lines of its logs and the command to look deeper, in `room` lines."""
    if not state.failures:
        return []
    shown = state.failures[: max(1, (room - 2) // 3)]
    more = state.more_failures + len(state.failures) - len(shown)
    each = max(1, (room - 1 - bool(more)) // len(shown) - 2)
    lines: list[RenderableType] = [_line("")]
    for failure in shown:
        lines.append(_line(f"failed: {failure.name}", "bold red"))
        lines += [_line(f"  {text}") for text in _tail(failure, each)]
        if failure.look:
            lines.append(_line(f"  look deeper: {failure.look}"))
    if more:
        lines.append(_line(f"… and {more} more jobs failed", "bold red"))
    return lines


def _tail(failure: Failure, count: int) -> list[str]:
    return [line for _, lines in failure.logs for line in lines][-count:]


def _foot(state: BuildState) -> list[RenderableType]:
    text = "Ctrl-C stops; what is done is kept"
    lines: list[RenderableType] = [_line(""), _line(text, "dim")]
    return [*lines, _line(f"all output: {state.log}", "dim")] if state.log else lines
