"""The live view, as text: what is on it, and that it fits into any terminal."""

import contextlib
import io
import os
import pty
import re
import termios
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from c2o_evidence.live.screen import LiveView, render
from c2o_evidence.live.state import BuildState, Failure, JobLine, Stage
from c2o_evidence.live.view import is_terminal, plain_line
from c2o_evidence.progress import TrainingProgress

LOG = "logs/quick/snakemake-20260101-120000-1.log"
STAGES = [
    Stage("data", 1, 1, seconds=5),
    Stage("train", 9, 2, running=2, seconds=61),
    Stage("evaluate", 10, 1, running=1, failed=1, seconds=9),
    Stage("tables", 1),
]
TRAINING = TrainingProgress("baseline", 0, 120, 200, 1.23456, 0.5, 40.0, True, ap=41.26)
JOBS = [
    JobLine("train baseline, seed 0", TRAINING),
    JobLine("train baseline, seed 1"),
    JobLine("evaluate warmstart, seed 1", ap="AP warmstart_1 59.0 (n = 1)", left_s=12.0),
]
TAIL = [("logs/e.log", ["one", "two", "Error: \x1b[2Jno"])]
FAILURE = Failure("evaluate (evaluate warmstart, seed 0)", TAIL, "less logs/e.log")
STATE = BuildState("planning", 0.42, 90.0, 62.0, 4, 21, STAGES, JOBS, [FAILURE], log=LOG)


def drawn(state: BuildState, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(render("quick", state, width, height))
    return console.export_text().splitlines()


def many(count: int) -> BuildState:
    jobs = [JobLine(f"train arm{number}, seed 0", TRAINING) for number in range(count)]
    return BuildState("planning", 0.1, None, 1.0, 0, 21, STAGES, jobs, log=LOG)


def test_all_of_it_on_a_usual_terminal() -> None:
    lines = [line.rstrip() for line in drawn(STATE, 100, 40)]
    text = "\n".join(lines)
    assert re.match(r"quick +━+.* 42 %", lines[0]) and lines[1] == "step 4 of 21, 1m02s so far, about 1m30s left"
    for row in (
        r"data +1/1 +done +5s",
        r"train +2/9 +running 2 +1m01s",
        r"evaluate +1/10 +failed 1 +9s",
        r"tables +0/1 +waiting",
    ):
        assert re.search(rf"^{row} *$", text, re.MULTILINE), row
    assert re.search(r"^train baseline, seed 0 +━{10} 120/200  loss 1\.235  AP 41\.3 +40s *$", text, re.MULTILINE)
    assert re.search(r"^evaluate warmstart, seed 1 +AP warmstart_1 59\.0 \(n = 1\) +12s *$", text, re.MULTILINE)
    assert "failed: evaluate (evaluate warmstart, seed 0)" in text and "  look deeper: less logs/e.log" in text
    assert r"Error: \u001b[2Jno" in text, "what a job has logged moves no cursor"
    assert "Ctrl-C stops; what is done is kept" in text and f"all output: {LOG}" in text


def test_a_narrow_terminal_has_the_same_numbers() -> None:
    text = "\n".join(line.rstrip() for line in drawn(STATE, 40, 60))
    assert "train baseline, seed 0\n  120/200, loss 1.235, AP 41.3, 40s left" in text
    assert "train      2/9  running 2   1m01s" in text


@pytest.mark.parametrize(("height", "shown"), [(24, 10), (60, 30)])
def test_of_many_jobs_as_many_are_shown_as_fit(height: int, shown: int) -> None:
    text = "\n".join(drawn(many(30), 100, height))
    found = len(re.findall(r"^train arm", text, re.MULTILINE))
    assert found == shown
    assert (f"… and {30 - shown} more" in text) == (shown < 30)


def test_a_low_terminal_sums_the_stages_up() -> None:
    text = "\n".join(drawn(many(4), 100, 12))
    assert "done: data; waiting: tables" in text and re.search(r"train +2/9 +running", text)
    assert len(re.findall(r"^train arm", text, re.MULTILINE)) == 2 and "… and 2 more" in text


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 200), st.integers(16, 60), st.integers(0, 40), st.integers(0, 3), st.booleans())
def test_it_fits(width: int, height: int, jobs: int, failures: int, queue: bool) -> None:
    failed = [FAILURE] * failures
    state = BuildState("planning", 0.1, 5.0, 1.0, 1, 21, STAGES * 3, JOBS * jobs, failed, 7, "3 pending" * queue, LOG)
    lines = drawn(state, width, height)
    assert len(lines) <= height and max(map(len, lines)) <= width


def on_a_terminal(states: Sequence[BuildState], monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What a terminal of 90 x 30 gets."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 90))
    got: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(ours, got))
    reader.start()
    with open(theirs, "w") as stream:
        view = LiveView("quick", stream)
        for state in states:
            view.update(state)
        view.close()
    reader.join()
    return b"".join(got).decode()


def read_all(descriptor: int, got: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # Linux says so at the end
        while data := os.read(descriptor, 1 << 16):
            got.append(data)
    os.close(descriptor)


def test_the_cursor_is_never_left_hidden_and_the_view_goes_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_a_terminal([STATE, STATE], monkeypatch, TERM="xterm-256color")
    assert text.count("120/200") >= 2
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.index("\x1b[?25h") < text.index("120/200"), "shown while it draws: a killed process cannot do so"
    assert text.rstrip().endswith("\x1b[2K"), "the last lines are erased"


def test_it_follows_a_terminal_that_changes_its_size() -> None:
    ours, theirs = pty.openpty()
    reader = threading.Thread(target=read_all, args=(ours, []))
    reader.start()
    with open(theirs, "w") as stream:
        view = LiveView("quick", stream)
        for lines, columns in ((30, 90), (20, 50)):
            termios.tcsetwinsize(theirs, (lines, columns))
            view.update(STATE)
            assert view.console.size == (columns, lines)
        view.close()
    reader.join()


def test_without_colour_where_that_is_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[36m" in on_a_terminal([STATE], monkeypatch, TERM="xterm-256color")
    assert "\x1b[36m" not in on_a_terminal([STATE], monkeypatch, TERM="xterm-256color", NO_COLOR="1")


def test_what_counts_as_a_terminal() -> None:
    _, theirs = pty.openpty()
    with open(theirs, "w") as stream:
        assert is_terminal(stream, {"TERM": "xterm"}) and is_terminal(stream, {})
        assert not is_terminal(stream, {"TERM": "dumb"}) and not is_terminal(stream, {"C2O_VIEW": "plain"})
    assert not is_terminal(io.StringIO(), {"TERM": "xterm"})


def test_plain_lines_count_failures_and_jobs() -> None:
    assert plain_line(STATE).endswith("12s left | 1 failed")
    assert plain_line(many(40)).endswith(" | and 28 more")
