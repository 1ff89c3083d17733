"""The commands of `c2o`, one module each: `SUMMARY` (a line), `HELP` (with examples), `add_arguments(parser)` and
`run(arguments, root)`, which returns the exit code.

A module imports what it needs inside `run`, so that `c2o --help`, which reads all of them, answers at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from c2o_evidence.commands import (
    adopt,
    checklist,
    data,
    diff,
    doctor,
    gc,
    model_card,
    predict,
    report,
    run,
    show,
    sign,
    stats,
    status,
    tables,
    verify,
    watch,
)


class Command(Protocol):
    """What a module of this package offers."""

    SUMMARY: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace, root: Path) -> int: ...


# In the order that `c2o --help` lists them.
_MODULES: tuple[ModuleType, ...] = (
    run,
    verify,
    sign,
    show,
    report,
    status,
    tables,
    stats,
    diff,
    predict,
    watch,
    adopt,
    data,
    gc,
    checklist,
    model_card,
    doctor,
)

COMMANDS: dict[str, Command] = {
    module.__name__.rsplit(".", 1)[-1].replace("_", "-"): cast(Command, module) for module in _MODULES
}
"""Each command by the name that is typed."""
