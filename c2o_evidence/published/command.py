"""`c2o tables --check` and `--write` on Markdown files and on manifests/reference."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_MESSAGE
from c2o_evidence.printable import printable
from c2o_evidence.published.check import Checked, Publisher, check_reference, default_files, reference_names
from c2o_evidence.published.sources import NO_RUNS
from c2o_evidence.verify import verify
from c2o_evidence.verify.command import progress_bars

SHOWN = 50


def check_command(files: Sequence[Path], root: Path, *, choice: str, deep: bool, as_json: bool) -> int:
    """Checks every marked table of the files and the published tables behind them; 1 if anything differs.

    Without files: README.md, docs/*.md and all of manifests/reference.

    Raises:
        EvidenceError: a file cannot be read, or a comment in it names what is not known.
    """
    publisher = Publisher(root, choice)
    paths = [path.resolve() for path in files] or default_files(root)
    checked = publisher.check_files(paths)
    names = {source.suite.name for source in publisher.sources}
    known = reference_names(root)
    checked += [check_reference(name, root) for name in known if name in names or not files]
    for source in publisher.sources:
        if source.base.startswith("deliverables/"):
            checked.append(Checked(source.base, "rows", source.told, 0, source.findings))
    if deep:
        checked += _deep(publisher, root, show=sys.stderr.isatty() and not as_json)
    if not any(item.cells for item in checked):
        raise EvidenceError("no marked table was found; put one between comments, see `c2o tables --help`")
    findings = [finding for item in checked for finding in item.findings]
    if as_json:
        items = [item.to_dict() for item in checked]
        print(json.dumps({"verified": not findings, "tables": items}, indent=2))
    else:
        print(describe(checked))
    return 1 if findings else 0


def _deep(publisher: Publisher, root: Path, *, show: bool) -> list[Checked]:
    """Level `tables` of the deliverables whose rows were used: AP from detections, rows from checkpoints."""
    frozen = [source for source in publisher.sources if source.base.startswith("deliverables/")]
    if not frozen:
        raise EvidenceError("--deep: no table took its rows from deliverables/; build one, or leave --deep out")
    checked = []
    for source in frozen:
        with progress_bars(root / source.base, "tables", show=show) as progress:
            report = verify(root / source.base, "tables", progress=progress)
        told = f"the detections in {source.base} and re-hashed checkpoints (root digest {report.root_digest})"
        cells = report.counts.get("cells", 0)
        checked.append(Checked(source.base, "level tables", told, cells, report.findings, report.notes))
    return checked


def describe(checked: Sequence[Checked]) -> str:
    """The outcome for a reader: the findings, a line a table with what its rows are, and the verdict."""
    findings = [finding for item in checked for finding in item.findings]
    lines = [str(finding) for finding in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"… and {len(findings) - SHOWN} more findings (--json lists all)")
    by_source: dict[str, list[Checked]] = {}
    for item in checked:
        by_source.setdefault(item.source, []).append(item)
    for source, items in by_source.items():
        for item in items:
            count = f"{len(item.findings)} findings in" if item.findings else "ok,"
            lines.append(f"{item.path}: {item.what}: {count} {item.cells} cells")
        lines.append(f"  from {source}")
    cells = sum(item.cells for item in checked)
    if findings:
        lines.append(f"FAILED: {len(findings)} findings in {len(checked)} tables, {cells} cells")
    else:
        lines.append(f"verified: {len(checked)} tables, {cells} cells")
        if above := sum(NO_RUNS in item.source for item in checked):
            lines.append(f"note: {above} of them from published TSVs, whose runs are not published here")
    lines += [f"note: {item.path}: {printable(note, MAX_MESSAGE)}" for item in checked for note in item.notes]
    return "\n".join(lines)


def write_command(files: Sequence[Path], root: Path, *, choice: str) -> int:
    """Puts the recomputed tables between the comments of the files. Raises EvidenceError as `check_command`."""
    publisher = Publisher(root, choice)
    changed = publisher.write_files([path.resolve() for path in files] or default_files(root))
    for name in changed:
        print(f"written: {name}")
    print(f"{len(changed)} tables changed" if changed else "all tables were up to date")
    return 0
