"""All tests: what `make test` runs, in parts side by side, as many at once as there are cores.

    python tests/run.py            every part: logs/tests-PART.xml and logs/tests-PART.log
    python tests/run.py -k word    arguments go to one pytest, which runs everything that they choose: logs/tests.xml

A part is one pytest with session fixtures of its own, so tests that share a build are in one part. What no part names
is in the part `others`. A part's output is on the screen when it has ended.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Plugins of packages that are here for other reasons; one of them takes a second to load.
WITHOUT = ("-p", "no:hydra_pytest", "-p", "no:anyio")
PYTEST = (sys.executable, "-u", "-m", "pytest", *WITHOUT)
# Files of tests/workflow that share a build: their session fixtures are `clean` and `built_suites`.
OF_CLEAN = ("end_to_end", "interrupt", "processes", "replay")
OF_BUILT_SUITES = ("adopt", "gc", "stacks", "suites")
# In the order in which they start: the longest first, so that at the end no core waits for one of them.
PARTS: dict[str, tuple[str, ...]] = {
    "slurm": ("tests/slurm",),
    "drills": ("tests/drills",),
    "end_to_end": (*(f"tests/workflow/test_{name}.py" for name in OF_CLEAN), "tests/workflow/documented"),
    "model": ("tests/c2o_model",),
    "others": (),  # all that no part names
    "suites": tuple(f"tests/workflow/test_{name}.py" for name in OF_BUILT_SUITES),
    "evidence": ("tests/c2o_evidence",),
}
# They wait for a cluster more than they compute: such a part takes no other's core.
WAITING = frozenset({"slurm"})
EVERY_S = 60.0
INTERRUPTED = 130


def arguments_of(parts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What pytest is told to run in each part; a part without paths takes all tests that the others do not name."""
    rest = [f"--ignore={path}" for paths in parts.values() for path in paths]
    return {name: list(paths) or rest for name, paths in parts.items()}


class Part:
    """One pytest, its files below logs/ and what it took."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name, self.log = name, ROOT / "logs" / f"tests-{name}.log"
        self.code: int | None = None
        self.wall_s = self.cpu_s = 0.0
        command = [*PYTEST, f"--junit-xml=logs/tests-{name}.xml", *arguments]
        self._began = time.monotonic()
        with self.log.open("wb") as log:  # in a session of its own: Ctrl-C reaches it by `interrupt` alone
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        say(f"{name}: started")

    def ended(self) -> bool:
        """Whether it has ended; the first time its output is shown."""
        before = children_s()
        if self.code is None and (code := self.process.poll()) is not None:
            self.code, self.wall_s, self.cpu_s = code, time.monotonic() - self._began, children_s() - before
            print(f"\n==== {self.name}\n{self.output()}", flush=True)
        return self.code is not None

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def percent(self) -> str:
        """How many of its tests have run, as pytest's lines say it."""
        found = re.findall(r"\[ *(\d+)%\]$", self.output(), re.MULTILINE)
        return f"{self.name} {found[-1] if found else 0} %"


def children_s() -> float:
    """CPU seconds of all processes that have been waited for, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run_all(parts: Mapping[str, Sequence[str]], at_once: int) -> int:
    """Run every part; 0 when all have passed, else the status of the first one that has not."""
    for old in (ROOT / "logs").glob("tests-*"):
        old.unlink()
    waiting = arguments_of(parts)
    running: list[Part] = []
    done: list[Part] = []
    told = time.monotonic()
    try:
        while waiting or running:
            while waiting and sum(part.name not in WAITING for part in running) < at_once:
                name = next(iter(waiting))
                running.append(Part(name, waiting.pop(name)))
            time.sleep(0.1)
            done += [part for part in running if part.ended()]
            running = [part for part in running if part.code is None]
            if time.monotonic() - told > EVERY_S:
                told = time.monotonic()
                say(", ".join([*(part.percent() for part in running), *(f"{name} waits" for name in waiting)]))
    except KeyboardInterrupt:
        interrupt(running)
        return INTERRUPTED
    for part in done:
        result = "passed" if part.code == 0 else f"FAILED (status {part.code})"
        print(f"{part.name}: {result} in {part.wall_s:.0f} s, {part.cpu_s:.0f} s of a core, logs/{part.log.name}")
    return next((part.code for part in done if part.code), 0)


def interrupt(running: Sequence[Part]) -> None:
    """As Ctrl-C does, and wait: a part ends what it has started, a cluster too. A second one is passed on as well."""
    while any(part.process.poll() is None for part in running):
        for part in running:
            part.process.send_signal(signal.SIGINT)
        try:
            for part in running:
                part.process.wait()
        except KeyboardInterrupt:
            continue


def main(arguments: Sequence[str]) -> int:
    """Run the tests that the arguments choose, or all of them in parts; the exit status."""
    # In the background a shell has SIGINT ignored, and so would all that tests start and interrupt.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    (ROOT / "logs").mkdir(exist_ok=True)
    if arguments:
        return subprocess.run([*PYTEST, "--junit-xml=logs/tests.xml", *arguments], cwd=ROOT, check=False).returncode
    return run_all(PARTS, len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
