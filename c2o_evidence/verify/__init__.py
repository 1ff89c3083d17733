"""Verification of a frozen bundle, in levels; see `verify`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import default_ledger, read_ledger
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.files import FilesResult, check_files
from c2o_evidence.verify.findings import LEVELS, Finding, Report
from c2o_evidence.verify.steady import steady

__all__ = ["LEVELS", "Finding", "Report", "verify"]

# Called with the phase ("files": bytes, "tables": runs) and how much of it was just done.
Progress = Callable[[str, int], None]

NOT_BUILT = {
    "eval": "it will evaluate the frozen checkpoints again: a verdict for each run",
    "train": "it will train again from nothing and compare checkpoint digests, then metrics",
}


@steady
def verify(
    path: Path | str,
    level: str = "files",
    *,
    ledger: Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verifies the bundle at `path`.

    Args:
        level: `files` or `tables` (which includes `files`); see evidence levels in `c2o verify --help`.
        ledger: the deliverables ledger; default `manifests/deliverables.tsv` of the checkout that `path` lies
        in, if any. jobs: threads for hashing, processes for recomputing AP. progress: called as
        `progress("files", n_bytes)` and `progress("tables", n_runs)` while work is done.

    Raises:
        EvidenceError: `path` is no bundle, or the level is unknown or not built yet. Faults of a bundle never
        raise:
            they are findings of the report.
    """
    if level in NOT_BUILT:
        raise EvidenceError(f"--level {level}: not built yet; {NOT_BUILT[level]}. Use --level tables")
    if level not in LEVELS:
        raise EvidenceError(f"--level {level}: unknown; use one of {', '.join(LEVELS)}")
    root = Path(path)
    if not root.is_dir():
        raise EvidenceError(f"{path}: is not a directory; give a bundle, e.g. deliverables/NAME")
    if not (root / SUMS_NAME).is_symlink() and not (root / SUMS_NAME).is_file():
        raise EvidenceError(f"{path}: has no {SUMS_NAME}, so it is no bundle; give a bundle, e.g. deliverables/NAME")
    report = Report(str(path), level)
    started = time.perf_counter()
    files = check_files(root, jobs=jobs, progress=None if progress is None else lambda n: progress("files", n))
    report.root_digest = files.root_digest
    report.counts = {"files": len(files.found), "bytes": files.n_bytes}
    report.add(files.findings)
    _check_ledger(root, files, ledger, report)
    report.seconds["files"] = time.perf_counter() - started
    if level == "tables":
        _check_tables(root, files, report, jobs, progress)
    return report


def _check_ledger(root: Path, files: FilesResult, ledger: Path | None, report: Report) -> None:
    """Whether the bundle is the one that was frozen under its name."""
    place = ledger if ledger is not None else default_ledger(root.resolve())
    if not place.is_file():
        if ledger is not None:
            raise EvidenceError(f"{ledger}: there is no such ledger")
        report.notes.append("no ledger here: compare the root digest with the published one")
        return
    frozen = read_ledger(place).get(root.resolve().name)
    if frozen is None:
        report.notes.append(
            f"{root.resolve().name} is not in the ledger: compare the root digest with the published one"
        )
    elif frozen.root_sha256 != files.root_digest:
        message = f"is not the list that was frozen (revision {frozen.revision})"
        if files.root_digest in frozen.history:
            revision = frozen.history.index(files.root_digest) + 1
            message = f"is an older freeze (revision {revision} of {frozen.revision})"
        report.add([Finding("stale", SUMS_NAME, message, expected=frozen.root_sha256, found=files.root_digest)])


def _check_tables(root: Path, files: FilesResult, report: Report, jobs: int | None, progress: Progress | None) -> None:
    from c2o_evidence.verify.tables import check_tables

    if any(finding.kind == "unsafe" for finding in report.findings):
        report.notes.append("the tables were not looked at: nothing is read in a bundle with unsafe paths")
        return
    started = time.perf_counter()
    result = check_tables(
        root, files.found, jobs=jobs, progress=None if progress is None else lambda n: progress("tables", n)
    )
    report.add(result.findings)
    report.notes += result.notes
    report.counts |= {"runs": result.runs, "cells": result.cells}
    report.seconds |= {"tables": time.perf_counter() - started, "AP": result.ap_seconds}
