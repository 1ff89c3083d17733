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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from c2o_evidence.live.attach import NOTES
from c2o_evidence.live.ending import print_result, stopped_line
from c2o_evidence.live.estimate import Watcher
from c2o_evidence.live.failures import explain_failure
from c2o_evidence.live.state import BuildState
from c2o_evidence.live.view import VIEW, View, make_view
from c2o_evidence.progress import Job, format_duration
from c2o_evidence.snakelog import SnakemakeLog

if TYPE_CHECKING:
    from c2o_evidence.cluster.watchdog import Watchdog

POLL_S = 0.3
TYPED = "C2O_TYPED"  # in the environment: the command that the user has typed, where it is not `c2o run`
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
        self._watcher = Watcher(self.log, {name: jobs}, root)

    def run(self, extra: Sequence[str], view: View) -> tuple[int, bool]:
        """Runs Snakemake to its end: its exit code, and whether the user interrupted it."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        signals = _Signals()
        with signals.installed(), self.log_path.open("wb") as sink, self.log_path.open("rb") as source:
            # Its own process group: the interrupt of the terminal then reaches it once, through us.
            process = subprocess.Popen(
                snakemake_command(self.targets, extra), cwd=self.root,
                env={**(os.environ if self.environment is None else self.environment), VIEW: NOTES},
                stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            signals.process = process
            read, drawn = _line_reader(source), True
            while process.poll() is None:
                for line in read():
                    self.log.feed(line)
                drawn = drawn and self._draw(view, interrupted=signals.received > 0)
                if self.watchdog and (stalled := self.watchdog.look(process.pid, self.log)):
                    self.stalled = stalled
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                time.sleep(POLL_S)
            for line in read():
                self.log.feed(line)
        return process.returncode, signals.received > 0

    def _draw(self, view: View, *, interrupted: bool) -> bool:
        """Show what there is; False where that does not work (any more): a display is not worth a build."""
        try:
            view.update(self._state(interrupted=interrupted))
        except Exception as error:
            with suppress(OSError, ValueError):  # a pipe or terminal that is gone
                print(f"progress is no longer shown: {type(error).__name__}: {error}", file=self.stream, flush=True)
            return False
        return True

    def _state(self, *, interrupted: bool) -> BuildState:
        queue = self.watchdog.queue_line if self.watchdog else ""
        log = self.log_path.relative_to(self.root).as_posix() if self.log_path.is_relative_to(self.root) else ""
        return self._watcher.state(interrupted=interrupted, queue=queue, log=log)


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
    return finished(build, code, interrupted, started, f"c2o run {suite.name}", extra=extra)


def tell(name: str, extra: Sequence[str], root: Path) -> int:
    """Let Snakemake say something about a deliverable, as it is; its exit code."""
    return subprocess.run(snakemake_command(f"deliverables/{name}", extra), cwd=root, check=False).returncode


def finished(
    build: Build,
    code: int,
    interrupted: bool,
    started: float,
    command: str,
    stopped: str = "stopped",
    extra: Sequence[str] = (),
) -> int:
    """Tell how a build has ended; the exit code for the user, who has typed `command` and may have `stopped` it.

    `extra` are the arguments that Snakemake got.
    """
    took = format_duration(time.monotonic() - started)
    again = os.environ.get(TYPED) or command
    if interrupted:
        print(stopped_line(took, again, stopped), file=build.stream)
        return 130
    if code != 0:
        print("\n".join(explain_failure(build.log, build.root, build.log_path, again)), file=build.stream)
        return max(code, 1)  # negative where a signal has ended Snakemake
    print_result(build.root, build.name, took, build.stream, arguments=extra, again=again)
    return 0
