"""What all drills share: the sandbox, the bundle to break, and the count at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.sandbox import LINES, TALLY, Sandbox, copied


@pytest.fixture(scope="session")
def sandbox(record_testsuite_property: Callable[[str, object], None]) -> Iterator[Sandbox]:
    box = Sandbox()
    yield box
    box.close()
    for name in ("tried", "refused", "executed", "peak_mb", "baseline_mb"):
        record_testsuite_property(f"hostile_{name}", getattr(TALLY, name))


@pytest.fixture
def bundle() -> Iterator[Path]:
    with copied() as path:
        yield path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.tried:
        terminalreporter.write_line(TALLY.line())
    if TALLY.fuzzed:
        terminalreporter.write_line(TALLY.fuzz_line())
    for line in LINES:
        terminalreporter.write_line(line)
