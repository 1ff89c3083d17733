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
    export,
    gc,
    model_card,
    new_suite,
    predict,
    report,
    run,
    show,
    sign,
    stats,
    status,
    tables,
    track,
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
    status,
    show,
    report,
    verify,
    sign,
    diff,
    stats,
    tables,
    predict,
    watch,
    export,
    track,
    checklist,
    model_card,
    new_suite,
    adopt,
    data,
    gc,
    doctor,
)

COMMANDS: dict[str, Command] = {
    module.__name__.rsplit(".", 1)[-1].replace("_", "-"): cast(Command, module) for module in _MODULES
}
"""Each command by the name that is typed."""
