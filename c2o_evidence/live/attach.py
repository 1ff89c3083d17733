"""Shows what a plain `snakemake …` does: attached to Snakemake's logger by workflow/rules/progress.smk when jobs are
about to start, so a dry run, `--lint`, `--dag`, `--report`, … know nothing of it, nor do the Snakemakes of jobs.

On a terminal the live view takes its place, and all that Snakemake and its jobs print goes to a file that the view
names. Without one Snakemake's lines stay as they are, with one of ours now and then. Below `c2o run`, which draws
itself, only notes are added for its reader (notes.py).
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.live.ending import print_result, stopped_line
from c2o_evidence.live.estimate import STAGES, Watcher
from c2o_evidence.live.events import EventReader, NoteWriter
from c2o_evidence.live.failures import explain_failure
from c2o_evidence.live.notes import JobKey, plan_lines
from c2o_evidence.live.redirect import Redirect
from c2o_evidence.live.view import OFF, VIEW, PlainView, View, is_terminal
from c2o_evidence.progress import Job, format_duration
from c2o_evidence.snakelog import SnakemakeLog

NOTES = "notes"  # of C2O_VIEW: what `c2o run` asks its Snakemake for
POLL_S = 0.3
PLAIN_INTERVAL_S = 30.0


@dataclass(frozen=True)
class Run:
    """A Snakemake that is about to start jobs.

    `plan`: its jobs; `jobs`: those of their suites with what they cost; `targets` as typed; `parallel`: how many jobs
    at once; `plain`: the user wants to read Snakemake's own lines, whatever they are printed on.
    """

    logger: logging.Logger
    plan: Sequence[JobKey]
    jobs: Mapping[str, Sequence[Job]]
    targets: Sequence[str]
    parallel: int
    plain: bool = False
    arguments: Sequence[str] = tuple(sys.argv)

    @property
    def command(self) -> str:
        """The command as typed."""
        program = Path(self.arguments[0]).name
        words = ["python", "-m", "snakemake"] if program == "__main__.py" else [program]
        return shlex.join([*words, *self.arguments[1:]])

    @property
    def deliverables(self) -> list[str]:
        """The names of those that were asked for."""
        places = [Path(target).parts for target in self.targets]
        return [parts[1] for parts in places if len(parts) == 2 and parts[0] == "deliverables"]


def show(run: Run) -> None:
    """Attach what the surroundings ask for. A view that cannot work is told of, and the build goes on."""
    mode = os.environ.get(VIEW, "")
    if mode == OFF or not any(key.rule in STAGES for key in run.plan):
        return
    if mode == NOTES:
        _write("\n".join(plan_lines(run.plan)))
        run.logger.addHandler(NoteWriter(_write))
        return
    try:
        shown = _Shown(run)
        shown.start()
    except Exception as error:  # a display is not worth a training, whatever is wrong with it
        run.logger.warning(f"no progress is shown: {type(error).__name__}: {error}")


def _write(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class _Shown:
    """A view of a run that is drawn from a thread of its own until Snakemake ends its logging."""

    def __init__(self, run: Run) -> None:
        self.run = run
        counts = Counter(key.rule for key in run.plan)
        at_once = max(1, min(run.parallel, len(run.plan)))  # a cluster may have no limit
        self.log = SnakemakeLog(cores=at_once, total=len(run.plan), counts=dict(counts), plan=set(run.plan))
        self.watcher = Watcher(self.log, run.jobs, Path())
        self.reader = EventReader(self.log, self.close)
        self.live = not run.plain and is_terminal(sys.stderr)
        self.log_path = _log_path(list(run.jobs))
        self.redirect: Redirect | None = None
        self.view: View = PlainView(run.logger.info, PLAIN_INTERVAL_S, beside=True)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)

    def start(self) -> None:
        if self.live:
            from c2o_evidence.live.screen import LiveView

            title = ", ".join(self.run.deliverables or self.run.targets)
            self.redirect = Redirect(self.log_path, self.run.logger)
            try:
                self.view = LiveView(title, self.redirect.terminal)
            except BaseException:
                self.redirect.close()
                raise
        self.run.logger.addHandler(self.reader)
        self._thread.start()

    def _draw(self) -> None:
        try:
            while not self._end.wait(POLL_S):
                with self.reader.guard:
                    state = self.watcher.state(log=str(self.log_path) if self.live else "")
                self.view.update(state)
        except Exception as error:  # as in `show`
            self._restore()
            self.run.logger.warning(f"progress is no longer shown: {type(error).__name__}: {error}")

    def _restore(self) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone
            self.view.close()
        if self.redirect is not None:
            self.redirect.close()

    def close(self) -> None:
        """The end: the terminal is as before, and has what there is to say."""
        self._end.set()
        self._thread.join(2)
        self._restore()
        took = format_duration(self.watcher.elapsed_s)
        try:
            if self.log.interrupted:
                _write(stopped_line(took, self.run.command))
            elif self.log.failed or self.log.errors:
                told = explain_failure(
                    self.log, Path(), self.log_path if self.live else None, self.run.command, tails=self.live
                )
                _write("\n".join(told))
            elif self.live and self.log.done >= self.log.total:
                self._tell_results(took)
        except OSError:
            pass  # nobody is there to be told
        except Exception as error:  # as in `show`
            _write(f"the end cannot be told: {type(error).__name__}: {error}")

    def _tell_results(self, took: str) -> None:
        stream = sys.stdout if sys.stdout.isatty() else sys.stderr
        if not self.run.deliverables:
            print(f"done: {self.log.done} steps, {took}", file=stream)
        for name in self.run.deliverables:
            again = f"{self.run.command.split()[0]} deliverables/{name}"
            print_result(Path(), name, took, stream, arguments=self.run.arguments[1:], again=again)
        stream.flush()


def _log_path(suites: Sequence[str]) -> Path:
    """Where all that is printed goes while the live view has the terminal: beside the logs of the jobs."""
    place = Path("logs", suites[0]) if len(suites) == 1 else Path("logs")
    return place / f"snakemake-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
