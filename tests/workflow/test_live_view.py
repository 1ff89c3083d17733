"""Plain `snakemake …`: a live view on a terminal, and elsewhere its own lines, of which none is lost (stubs)."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from c2o_evidence.live.notes import JobKey
from c2o_evidence.snakelog import SnakemakeLog

DATA = "data/digits_mini/manifest.json"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A command on a terminal of its own. `text` is what it got so far, without the movements of the cursor."""

    def __init__(self, command: list[str], checkout, lines: int = 40, columns: int = 100, term: str = "xterm") -> None:
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.chdir(checkout.path)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.execvpe(command[0], command, {**checkout.environment, "TERM": term})
        termios.tcsetwinsize(self.descriptor, (lines, columns))
        self.got = b""

    @property
    def text(self) -> str:
        return CONTROL.sub("", self.got.decode("utf-8", "replace"))

    def read_until(self, wanted: Callable[[str], object], seconds: float = 90) -> str:
        """The text as soon as it is as wanted."""
        until = time.monotonic() + seconds
        while not wanted(self.text):
            assert time.monotonic() < until, self.text
            try:
                data = os.read(self.descriptor, 1 << 16)
            except OSError:  # Linux says so at the end
                data = b""
            assert data, self.text
            self.got += data
        return self.text

    def end(self) -> tuple[int, str]:
        """Exit code and text."""
        with contextlib.suppress(OSError):
            while data := os.read(self.descriptor, 1 << 16):
                self.got += data
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1]), self.text


def whole_log(text: str, checkout) -> str:
    """The file that the view names."""
    (name,) = set(re.findall(r"all output: (logs/\S+\.log)", text))
    return (checkout.path / name).read_text()


def test_a_view_on_a_terminal_and_an_interrupt_that_says_how_to_go_on(fresh) -> None:
    (fresh.path / "stub.wait").touch()
    terminal = Terminal(fresh.command(DATA), fresh)
    # A picture may come in two pieces.
    text = terminal.read_until(lambda text: re.search(r"(?s)data +0/1 +running 1.*generate data set digits_mini", text))
    assert "step 0 of 1" in text
    terminal.read_until(lambda text: text.count("running 1") > 3)
    os.write(terminal.descriptor, b"\x03")
    code, text = terminal.end()
    assert code == 1 and not (fresh.path / DATA).exists()
    last = [line for line in text.splitlines() if line.strip()][-1]
    assert re.fullmatch(rf"stopped after \d+s\. Training keeps its state: `python -m snakemake {DATA}` resumes\.", last)
    log = whole_log(text, fresh)
    assert re.search(r"^Job 0: generate data set digits_mini$", log, re.MULTILINE), "without colour codes"
    assert "Terminating processes on user request" in log
    (fresh.path / "stub.wait").unlink()
    code, text = Terminal(fresh.command(DATA), fresh).end()
    assert code == 0 and "done: 1 steps" in text and "  1 of 1 steps" not in text


def test_a_failure_on_a_terminal_is_told_with_its_log(fresh) -> None:
    (fresh.path / "stub.fail").write_text("data digits_mini")
    code, text = Terminal(fresh.command(DATA), fresh, lines=24, columns=60).end()
    assert code == 1
    told = text[text.rindex("failed: data (generate data set digits_mini)") :].splitlines()
    assert told[1] == "  the last lines of logs/data/digits_mini.log:"
    assert "data digits_mini: fails as asked" in told[2]
    assert told[-2:] == [
        "look deeper:      less logs/data/digits_mini.log",
        f"what is done is kept: `python -m snakemake {DATA}` goes on from here",
    ]
    assert "Error in rule data:" in whole_log(text.replace("the whole output", "all output"), fresh)


def test_without_a_terminal_every_line_of_snakemake_stays(fresh) -> None:
    fresh.environment["C2O_VIEW"] = "off"
    bare = told(fresh.run(DATA))
    (fresh.path / DATA).unlink()
    del fresh.environment["C2O_VIEW"]
    seen = fresh.run(DATA)
    assert told(seen) == bare and "Finished jobid: 0 (Rule: data)" in bare
    assert not list((fresh.path / "logs").rglob("snakemake-*")), "no file is needed for it"
    (fresh.path / DATA).unlink()
    code, text = Terminal(fresh.command(DATA), fresh, term="dumb").end()
    assert code == 0 and "Finished jobid: 0 (Rule: data)" in text and "Ctrl-C" not in text


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a run, without times and names of files of the moment."""
    assert done.returncode == 0, done.stdout
    lines = [re.sub(r"\d\d+[-:T.\d]*|\([\d.]+ s\)", "#", line) for line in done.stdout.splitlines()]
    return [line for line in lines if not line.startswith(("Elapsed", "["))]


def test_below_c2o_run_snakemake_says_what_its_jobs_are(fresh) -> None:
    fresh.environment["C2O_VIEW"] = "notes"
    log = SnakemakeLog()
    for line in fresh.run(DATA).stdout.splitlines():
        log.feed(line)
    key = JobKey("data")
    assert (log.plan, log.finished, log.counts, log.done) == ({key}, {key}, {"data": 1}, 1)


def test_a_dry_run_on_a_terminal_is_that_of_snakemake(fresh) -> None:
    code, text = Terminal(fresh.command(DATA, "--dry-run"), fresh).end()
    assert code == 0 and "This was a dry-run" in text and "Ctrl-C" not in text
    assert not Path(fresh.path, "logs").exists()
