"""`c2o run SUITE`: builds a deliverable with Snakemake and shows how far it is and what time is left.

Snakemake does the work in a process of its own; its whole output goes to `logs/SUITE/snakemake-*.log`, which
this module reads along. An interrupt is passed on to Snakemake and its jobs; training keeps its state, so a
re-run resumes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from c2o_evidence.progress import Job, TrainingProgress, format_duration, read_progress, refined, seconds_left
from c2o_evidence.run_view import BuildState, View, make_view
from c2o_evidence.snakelog import JobBlock, SnakemakeLog

if TYPE_CHECKING:
    from c2o_evidence.cluster.watchdog import Watchdog

POLL_S = 0.3
REFINE_S = 5.0  # between two looks at the records for how long jobs take
REST = 20  # times as long as a look at the files of all jobs has taken, until the next one: a suite may have thousands
TAIL_LINES = 15
# With these Snakemake only tells something or repairs its state: its own output is the answer.
TELLING_FLAGS = frozenset(
    [
        "-n",
        "--dry-run",
        "--dryrun",
        "--lint",
        "--dag",
        "--rulegraph",
        "--filegraph",
        "--d3dag",
        "--unlock",
        "--report",
        "--summary",
        "-S",
        "--detailed-summary",
        "-D",
        "--list-rules",
        "-l",
        "--list-target-rules",
        "--list-changes",
        "--archive",
        "--touch",
        "-t",
        "--version",
        "-h",
        "--help",
        "--delete-all-output",
        "--cleanup-metadata",
        "--print-compilation",
    ]
)


def snakemake_command(target: str | Sequence[str], extra: Sequence[str]) -> list[str]:
    """The command line. The targets come first: some flags of Snakemake would swallow them behind them."""
    targets = [target] if isinstance(target, str) else target
    return [sys.executable, "-m", "snakemake", *targets, *extra]


def only_tells(extra: Sequence[str]) -> bool:
    """Whether the arguments make Snakemake report something instead of building."""
    return any(argument.split("=", 1)[0] in TELLING_FLAGS for argument in extra)


class _Signals:
    """Passes SIGINT and SIGTERM on to the process group of a child; a second one ends it for good."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.received = 0

    def handle(self, number: int, _frame: object) -> None:
        self.received += 1
        if self.process is None or self.process.poll() is not None:
            return
        # SIGTERM can leave Snakemake hanging; SIGINT makes it stop its jobs and unlock the directory.
        os.killpg(self.process.pid, signal.SIGINT if self.received == 1 else signal.SIGKILL)

    @contextmanager
    def installed(self) -> Iterator[None]:
        old = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


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


def explain_failure(log: SnakemakeLog, root: Path, log_path: Path, target: str) -> list[str]:
    """What to tell the user after a failed build: the failing rule, the end of its log, and where to look
    deeper.
    """
    shown = log_path.relative_to(root) if log_path.is_relative_to(root) else log_path
    lines: list[str] = []
    for block in log.failed[:3]:
        lines.append(f"failed: {block}")
        lines += _end_of_logs(block, root)
    if len(log.failed) > 3:
        lines.append(f"… and {len(log.failed) - 3} more jobs failed")
    if not log.failed:
        lines += log.errors or [f"  {line}" for line in last_lines(log_path)]
    lines.append(f"the whole output: {shown}")
    if log.failed:
        logs = log.failed[0].logs
        lines.append(f"look deeper:      {f'less {logs[0]}' if logs else f'snakemake {target} --verbose'}")
    lines.append("what is done is kept: the same command goes on from here")
    return lines


def _end_of_logs(block: JobBlock, root: Path) -> list[str]:
    lines = []
    for name in block.logs:
        lines.append(f"  the last lines of {name}:")
        lines += [f"    {line}" for line in last_lines(root / name)] or ["    (the log is empty)"]
    return lines


class Build:
    """One run of Snakemake with its view.

    `jobs` are the suite's jobs with their cost, for the remaining time; `targets` (default: the deliverable) are
    relative to `root`; `environment` takes the place of this process's. A `watchdog` ends a Snakemake that stands
    still: `stalled` then says why.
    """

    def __init__(
        self,
        name: str,
        jobs: Sequence[Job],
        root: Path,
        stream: TextIO,
        *,
        targets: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.name = name
        self.jobs = jobs
        self.root = root
        self.stream = stream
        self.target = f"deliverables/{name}"
        self.targets = list(targets) or [self.target]
        self.environment = environment
        self.watchdog = watchdog
        self.stalled = ""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.log_path = root / "logs" / name / f"snakemake-{stamp}-{os.getpid()}.log"
        self.log = SnakemakeLog()
        self._costs = list(jobs)
        self._training: list[TrainingProgress] = []
        self._work = (0.0, 0.0)  # seconds left, and in total
        self._refined_at = self._look_at = float("-inf")

    def run(self, extra: Sequence[str], view: View) -> tuple[int, bool]:
        """Runs Snakemake to its end: its exit code, and whether the user interrupted it."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        signals = _Signals()
        started = time.monotonic()
        with signals.installed(), self.log_path.open("wb") as sink, self.log_path.open("rb") as source:
            # Its own process group: the interrupt of the terminal then reaches it once, through us.
            process = subprocess.Popen(
                snakemake_command(self.targets, extra), cwd=self.root, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            signals.process = process
            read = _line_reader(source)
            while process.poll() is None:
                for line in read():
                    self.log.feed(line)
                view.update(self._state(started, interrupted=signals.received > 0))
                if self.watchdog and (stalled := self.watchdog.look(process.pid, self.log)):
                    self.stalled = stalled
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                time.sleep(POLL_S)
            for line in read():
                self.log.feed(line)
        return process.returncode, signals.received > 0

    def _state(self, started: float, *, interrupted: bool) -> BuildState:
        if time.monotonic() >= self._look_at:
            self._look()
        left, total = self._work
        phase = "stopping: the running jobs save their state" if interrupted else "planning"
        return BuildState(
            fraction=self._fraction(left, total),
            left_s=left if self.log.total else None,
            elapsed_s=time.monotonic() - started,
            steps_done=self.log.done,
            steps_total=0 if interrupted else self.log.total,
            running=[str(block) for block in self.log.running.values()],
            training=_unfinished(self._training),
            phase=phase,
            queue=self.watchdog.queue_line if self.watchdog else "",
        )

    def _look(self) -> None:
        """Look at the progress files and records of all jobs, and note when it may be done again."""
        begun = time.monotonic()
        self._training = [item for item in read_progress(self.root / "results" / ".state" / self.name) if item.alive]
        if begun - self._refined_at > REFINE_S:
            self._costs, self._refined_at = refined(self.jobs), begun
        self._work = seconds_left(self._costs, self._training, self.log.cores)
        ended = time.monotonic()
        self._look_at = ended + REST * (ended - begun)

    def _fraction(self, left: float, total: float) -> float:
        if total > 0:
            # Tables and bundle have no cost of their own here, so the end is not reached before Snakemake's.
            return min(0.99, max(0.0, 1.0 - left / total))
        return self.log.done / self.log.total if self.log.total else 0.0


def _unfinished(training: Sequence[TrainingProgress]) -> list[TrainingProgress]:
    return [item for item in training if item.iteration < item.total]


def _line_reader(source: object) -> Callable[[], Iterator[str]]:
    """Reads the lines that were added since the last call; a line that is not finished yet waits."""
    rest = b""

    def read() -> Iterator[str]:
        nonlocal rest
        data: bytes = source.read()  # type: ignore[attr-defined]
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")

    return read


def run_suite(suite_name: str, extra: Sequence[str], root: Path, stream: TextIO | None = None) -> int:
    """Builds `deliverables/SUITE`.

    Returns Snakemake's exit code (1 where it was killed, 130 after an interrupt). Raises SuiteError.
    """
    from c2o_evidence.suite import load_suite
    from c2o_evidence.workload import jobs_of

    out = sys.stdout if stream is None else stream
    suite = load_suite(suite_name, root)
    build = Build(suite.name, jobs_of(suite, root), root, out)
    if only_tells(extra):
        return tell(suite.name, extra, root)
    started = time.monotonic()
    view = make_view(suite.name, out)
    try:
        code, interrupted = build.run(extra, view)
    finally:
        view.close()
    return finished(build, code, interrupted, started, f"c2o run {suite.name}")


def tell(name: str, extra: Sequence[str], root: Path) -> int:
    """Let Snakemake say something about a deliverable, as it is; its exit code."""
    return subprocess.run(snakemake_command(f"deliverables/{name}", extra), cwd=root, check=False).returncode


def finished(build: Build, code: int, interrupted: bool, started: float, command: str, stopped: str = "stopped") -> int:
    """Tell how a build has ended; the exit code for the user, who has typed `command` and may have `stopped` it."""
    took = format_duration(time.monotonic() - started)
    if interrupted:
        print(f"{stopped} after {took}. Training keeps its state: `{command}` resumes.", file=build.stream)
        return 130
    if code != 0:
        told = explain_failure(build.log, build.root, build.log_path, build.target)
        print("\n".join(told), file=build.stream)
        return max(code, 1)  # negative where a signal has ended Snakemake
    print_result(build.root, build.name, took, build.stream)
    return 0


def print_result(root: Path, name: str, took: str, stream: TextIO) -> None:
    """Where the bundle is, its summary table, and the command that verifies it."""
    bundle = root / "deliverables" / name
    print(f"deliverables/{name} is complete ({took})", file=stream)
    table = bundle / "tables" / "summary.md"
    if stream.isatty():
        from c2o_evidence.show import show_suite

        show_suite(bundle)
    elif table.is_file():
        print("\n" + table.read_text("utf-8").rstrip() + "\n", file=stream)
    print(f"report:  deliverables/{name}/report.html", file=stream)
    print(f"verify:  c2o verify deliverables/{name} --level tables", file=stream)
