"""`c2o verify`: one bundle or every frozen one, with progress and findings for a reader, or JSON for a
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from c2o_evidence.errors import EvidenceError
from c2o_evidence.ledger import read_ledger
from c2o_evidence.limits import MAX_MESSAGE
from c2o_evidence.printable import printable
from c2o_evidence.verify import Progress, Report, verify
from c2o_evidence.verify.files import sizes_to_hash

if TYPE_CHECKING:
    from c2o_evidence.signing import Trust

SHOWN = 50


def _bundles(path: Path | None, root: Path) -> list[Path]:
    if path is not None:
        return [path]
    names = read_ledger(root / "manifests" / "deliverables.tsv")
    if not names:
        if lying := sorted((root / "deliverables").glob("*/SHA256SUMS")):
            raise EvidenceError(
                "nothing is frozen here yet: no ledger knows what lies in deliverables/; give the path of a bundle, "
                f"e.g. deliverables/{printable(lying[0].parent.name)}"
            )
        raise EvidenceError("nothing is frozen here yet; give the path of a bundle, or build one: `c2o run SUITE`")
    found = [root / "deliverables" / name for name in names]
    # As a user would type them, where that works.
    return [Path(os.path.relpath(item)) if item.is_relative_to(Path.cwd()) else item for item in found]


@contextmanager
def progress_bars(path: Path, level: str, *, show: bool) -> Iterator[Progress | None]:
    """A bar over bytes, then one over runs, on a terminal; nothing elsewhere."""
    if not show or not path.is_dir():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {"files": bars.add_task("hashing files", total=sizes_to_hash(path)[1])}
        if level != "files":
            from c2o_evidence.verify.tables import count_runs

            tasks["tables"] = bars.add_task("recomputing AP", total=count_runs(path) or None)

        def advance(phase: str, amount: int) -> None:
            if phase in tasks:
                bars.advance(tasks[phase], amount)
            else:
                bars.stop()  # a replay has a view of its own

        yield advance


def describe(report: Report) -> str:
    """The report for a reader: findings, what was checked, verdict, root digest."""
    lines = [str(finding) for finding in report.findings[:SHOWN]]
    if len(report.findings) > SHOWN:
        lines.append(f"… and {len(report.findings) - SHOWN} more findings (--json lists all)")
    counts = report.counts
    seen = f"{counts['files']} files, {counts['bytes'] / 1e6:.1f} MB in {report.seconds['files']:.2f} s"
    if "runs" in counts:
        seen += f"; {counts['runs']} runs, {counts['cells']} cells in {report.seconds['tables']:.1f} s"
    if report.replay is not None:
        from c2o_evidence.verify.replay.text import describe_replay, summary

        lines += describe_replay(report.replay)
        seen += f"; {summary(report.replay)}" if report.replay.runs else ""
    if report.ok:
        lines.append(f"verified: {printable(report.path)} (level {report.level}): {seen}")
    else:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds().items())
        lines.append(f"FAILED: {printable(report.path)} (level {report.level}): {kinds}; {seen}")
    if report.root_digest:
        lines.append(f"root digest: {report.root_digest}")
    lines += [f"note: {printable(note, MAX_MESSAGE)}" for note in report.notes]
    return "\n".join(lines)


def trust_of(arguments: argparse.Namespace) -> Trust | None:
    """Whose signature the user asks for, or None. Raises EvidenceError where only half of it is said: an option that
    is not used, or an empty name (a variable of a script that is not set), must not pass for a check.
    """
    from c2o_evidence.signing import Trust
    from c2o_evidence.signing.check import require_usable

    if arguments.signer is not None and not arguments.signer.strip():
        raise EvidenceError("--signer: is empty; name the identity whose signature is asked for")
    if arguments.signer is None and arguments.public_key is None:
        if arguments.allowed_signers or arguments.revoked or arguments.signature:
            raise EvidenceError("say whose signature to ask for: --signer IDENTITY, or --public-key FILE")
        return None
    if arguments.signer is None and (arguments.allowed_signers or arguments.revoked):
        raise EvidenceError("--allowed-signers and --revoked are for SSH signatures alone; add --signer IDENTITY")
    trust = Trust(
        arguments.signer or "", arguments.allowed_signers, arguments.revoked, arguments.public_key, arguments.signature
    )
    require_usable(trust)
    return trust


def add_signatures(report: Report, bundle: Path, trust: Trust | None) -> None:
    """Puts into a report what the signatures of its bundle are worth."""
    from c2o_evidence.signing.check import check_signatures, note_of

    if trust is None:
        report.notes += [note for note in [note_of(bundle)] if note]
        return
    findings, notes = check_signatures(bundle, trust, report.root_digest or None)
    report.add(findings)
    report.notes += notes


def verify_command(
    path: Path | None,
    level: str,
    *,
    root: Path,
    as_json: bool,
    jobs: int | None,
    ledger: Path | None,
    cached: bool = False,
    keep: bool = False,
    trust: Trust | None = None,
) -> int:
    """Verifies and prints; the worst exit code of all bundles. Raises EvidenceError for bad use."""
    reports = []
    for bundle in _bundles(path, root):
        with progress_bars(bundle, level, show=sys.stderr.isatty() and not as_json) as progress:
            report = verify(
                bundle, level, ledger=ledger, jobs=jobs, progress=progress, cached=cached, checkout=root, keep=keep
            )
        add_signatures(report, bundle, trust)
        reports.append(report)
        if not as_json:
            print(describe(report))
    if as_json:
        print(reports[0].to_json() if path is not None else json.dumps([item.to_dict() for item in reports], indent=2))
    return max(report.exit_code for report in reports)
