"""A view that cannot work is told of, and the build goes on; the streams are as before in any case."""

import io
import logging
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from c2o_evidence.live import attach, screen
from c2o_evidence.live.attach import Run, show
from c2o_evidence.live.notes import JobKey
from c2o_evidence.live.redirect import Redirect


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.Logger("snakemake")
    made.addHandler(logging.StreamHandler(io.StringIO()))
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Makes standard error a terminal; to be called in the test, as pytest changes it in between."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)
    with os.fdopen(theirs, "w", buffering=1) as stream:
        yield lambda: monkeypatch.setattr(sys, "stderr", stream)
    os.close(ours)


def run_of(logger: logging.Logger, *rules: str, argv: str = "/bin/snakemake deliverables/toy -k") -> Run:
    plan = [JobKey(rule, "toy") for rule in rules]
    return Run(logger, plan, {"toy": []}, ["deliverables/toy"], 2, arguments=argv.split())


def said(logger: logging.Logger) -> str:
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    return str(handler.stream.getvalue())


def test_the_command_as_it_was_typed(logger: logging.Logger) -> None:
    assert run_of(logger).command == "snakemake deliverables/toy -k"
    assert run_of(logger, argv="/x/snakemake/__main__.py a'b").command == "python -m snakemake 'a'\"'\"'b'"
    assert run_of(logger).deliverables == ["toy"]


def test_a_run_of_rules_that_are_no_stages_is_left_alone(logger: logging.Logger) -> None:
    show(run_of(logger, "deliverables"))
    assert len(logger.handlers) == 1


def test_a_view_that_cannot_begin_stops_nothing(
    logger: logging.Logger, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    monkeypatch.setattr(screen, "LiveView", lambda *_: 1 / 0)
    show(run_of(logger, "train"))
    assert "no progress is shown: ZeroDivisionError" in said(logger)
    assert sys.stderr.isatty()


def test_a_view_that_breaks_gives_the_terminal_back(
    logger: logging.Logger, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    monkeypatch.setattr(attach, "POLL_S", 0.01)
    monkeypatch.setattr(screen.LiveView, "update", lambda *_: 1 / 0)
    show(run_of(logger, "train"))
    reader = logger.handlers[1]
    for _ in range(6000):  # until it is said; a busy machine takes its time
        if "no longer shown: ZeroDivisionError" in said(logger):
            break
        attach.time.sleep(0.01)
    assert "progress is no longer shown: ZeroDivisionError" in said(logger) and sys.stderr.isatty()
    reader.close()


def test_a_full_disk_does_not_keep_the_terminal(
    logger: logging.Logger, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal()
    redirect = Redirect(tmp_path / "all.log", logger)

    def full() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(sys.stderr, "flush", full)
        redirect.close()
    assert sys.stderr.isatty()


def test_what_children_print_meanwhile_goes_to_the_file(
    logger: logging.Logger, terminal: Callable[[], None], tmp_path: Path
) -> None:
    terminal()
    coloured = logging.StreamHandler(sys.stderr)
    coloured.nocolor = False  # type: ignore[attr-defined]
    logger.addHandler(coloured)
    redirect = Redirect(tmp_path / "logs/all.log", logger)
    assert not sys.stderr.isatty() and redirect.terminal.isatty() and coloured.nocolor  # type: ignore[attr-defined]
    os.write(sys.stderr.fileno(), b"from a job\n")
    logger.warning("from Snakemake")
    redirect.close()
    redirect.close()
    assert (tmp_path / "logs/all.log").read_text() == "from a job\nfrom Snakemake\n"
    assert sys.stderr.isatty() and not coloured.nocolor  # type: ignore[attr-defined]
