"""Verification of a frozen bundle, in levels; see `verify`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from c2o_evidence.digest_cache import DigestCache, user_cache
from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import default_ledger, read_ledger
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.files import FilesResult, check_files, walk
from c2o_evidence.verify.findings import LEVELS, Finding, Report

__all__ = ["LEVELS", "Finding", "Report", "verify"]

# Called with the phase ("files": bytes, "tables": runs, "replay": 0 when it begins) and how much of it was just done.
Progress = Callable[[str, int], None]

REPLAYED = ("eval", "train")  # levels that run the workflow of a checkout


def verify(
    path: Path | str,
    level: str = "files",
    *,
    ledger: Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    cached: bool = False,
    checkout: Path | None = None,
    keep: bool = False,
    stream: TextIO | None = None,
) -> Report:
    """Verifies the bundle at `path`.

    Args:
        level: `files`, `tables`, `eval` or `train`; see `c2o verify --help` and docs/verify.md. Each includes `files`,
            all but that include `tables`. `eval` and `train` begin where those have found nothing.
        ledger: the deliverables ledger; default `manifests/deliverables.tsv` of the checkout that `path` lies
        in, if any. jobs: threads for hashing, processes for recomputing AP, jobs of a replay. progress: called as
        `progress("files", n_bytes)` and `progress("tables", n_runs)` while work is done. cached: do not read a file
        again whose state this user's digest cache knows; the report says how many those were. checkout: whose workflow,
        code and environment do a replay. keep: leave the room of a replay. `progress("replay", 0)` comes before a
        replay shows its own progress on `stream` (default: stderr).

    Raises:
        EvidenceError: `path` is no bundle, the level is unknown, or a replay cannot be begun here. Faults of a
            bundle never raise: they are findings of the report.
        KeyboardInterrupt: the user stopped a replay; the same call goes on.
    """
    if level not in LEVELS:
        raise EvidenceError(f"--level {level}: unknown; use one of {', '.join(LEVELS)}")
    root = Path(path)
    if not root.is_dir():
        raise EvidenceError(f"{path}: is not a directory; give a bundle, e.g. deliverables/NAME")
    if not (root / SUMS_NAME).is_symlink() and not (root / SUMS_NAME).is_file():
        raise EvidenceError(f"{path}: has no {SUMS_NAME}, so it is no bundle; give a bundle, e.g. deliverables/NAME")
    if level in REPLAYED:
        from c2o_evidence.verify.replay.workflow import check_environment

        checkout = check_environment(checkout, level)
    report = Report(str(path), level)
    started = time.perf_counter()
    with DigestCache(user_cache()) if cached else nullcontext() as cache:
        on_bytes = None if progress is None else lambda n: progress("files", n)
        files = check_files(root, jobs=jobs, progress=on_bytes, cache=cache)
    if cached:
        report.notes.append(
            f"--cached: {files.cached} of {len(files.found)} digests are from {user_cache()}, not read now"
        )
    report.root_digest = files.root_digest
    report.counts = {"files": len(files.found), "bytes": files.n_bytes}
    if cached:
        report.counts["cached"] = files.cached
    report.add(files.findings)
    _check_ledger(root, files, ledger, report)
    report.seconds["files"] = time.perf_counter() - started
    if level != "files":
        _check_tables(root, files, report, jobs, progress)
    if level in REPLAYED and checkout is not None:
        if progress is not None:
            progress("replay", 0)
        _replay(root, files, report, checkout, jobs=jobs, keep=keep, stream=stream or sys.stderr)
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


def _changed_since(root: Path, files: FilesResult) -> Iterator[Finding]:
    """Files that are not what was hashed any more: what level `tables` has read may not be what the digests are of."""
    stamps = walk(root).stamps
    for path in files.found:
        if stamps.get(path) != files.stamps[path]:
            yield Finding("unsafe", path, "changed while the bundle was verified; verify a copy that nothing writes to")


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
    report.add(_changed_since(root, files))
    report.notes += result.notes
    report.counts |= {"runs": result.runs, "cells": result.cells}
    report.seconds |= {"tables": time.perf_counter() - started, "AP": result.ap_seconds}


def _replay(
    root: Path, files: FilesResult, report: Report, checkout: Path, *, jobs: int | None, keep: bool, stream: TextIO
) -> None:
    if report.findings:
        report.notes.append("nothing was replayed: the bundle does not hold at the levels below")
        return
    from c2o_evidence.suite import load_resolved_suite
    from c2o_evidence.verify.replay import Source, replay

    suite = load_resolved_suite(root / "suite.yaml")
    if not suite.rows:
        report.notes.append("nothing was replayed: the suite has no runs, only measured times")
        return
    source = Source(root, suite, files.found, files.root_digest)
    result = replay(source, report.level, checkout, stream=stream, jobs=jobs, keep=keep)
    report.replay = result
    report.add(result.all_findings())
    report.seconds[report.level] = result.seconds
    if suite.tolerances is None:
        report.notes.append("the suite declares no tolerances: only bit-exact runs pass")
    if result.room:
        report.notes.append(f"the replay is kept in {result.room}, its logs in logs/{suite.name} there")
