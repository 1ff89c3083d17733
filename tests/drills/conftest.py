"""What all drills share: the sandbox, the bundle to break, and the count at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.sandbox import TALLY, Sandbox, copied


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox()
    yield box
    box.close()


@pytest.fixture
def bundle() -> Iterator[Path]:
    with copied() as path:
        yield path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.tried:
        terminalreporter.write_line(TALLY.line())
    if TALLY.fuzzed:
        terminalreporter.write_line(TALLY.fuzz_line())
