"""A reader of a deliverable that is frozen anew meanwhile sees the whole old one or the whole new one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import default_ledger
from c2o_evidence.lock import wait_until_free
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.findings import Report

LOOKS = 5
FREEZE_SECONDS = 600.0  # that a freeze may take which has begun

P = ParamSpec("P")
Path_ = Path | str


def steady(look: Callable[Concatenate[Path_, P], Report]) -> Callable[Concatenate[Path_, P], Report]:
    """Looks again where the directory was exchanged while `look(path, …)` read it.

    The function raises EvidenceError if that happens time and again, else what `look` raises.
    """

    @functools.wraps(look)
    def run(path: Path_, /, *args: P.args, **kwargs: P.kwargs) -> Report:
        for _ in range(LOOKS):
            seen = _identity(path)
            try:
                report = look(path, *args, **kwargs)
            except (EvidenceError, OSError):
                if _identity(path) == seen:
                    raise
                continue
            if "stale" in report.kinds() and _identity(path) == seen:
                # A freeze writes the ledger first: the new directory may be about to come.
                given = kwargs.get("ledger")
                ledger = given if isinstance(given, Path) else default_ledger(Path(path).resolve())
                wait_until_free(ledger, FREEZE_SECONDS)
            if _identity(path) == seen:
                return report
        raise EvidenceError(f"{path}: was exchanged {LOOKS} times while it was read; verify when nobody freezes it")

    return run


def _identity(path: Path_) -> tuple[int, ...] | None:
    """What tells a directory from the one that takes its place. The inode alone does not: it is used again."""
    try:
        found, sums = os.stat(path), os.lstat(Path(path, SUMS_NAME))
    except OSError:
        return None
    return found.st_dev, found.st_ino, sums.st_ino, sums.st_ctime_ns
