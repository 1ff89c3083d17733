"""`c2o gc`: what is not needed, grouped by reason, and its removal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.garbage.find import Found, Item, find_garbage
from c2o_evidence.garbage.needs import read_needs
from c2o_evidence.garbage.remove import Removed, remove
from c2o_evidence.progress import format_size
from c2o_evidence.run_lock import run_lock

SHOWN = 5


def gc_command(root: Path, *, dry_run: bool, as_json: bool) -> int:
    """Removes (or with `dry_run` only lists) and prints; 0, or 1 if something could not be removed.

    Raises:
        EvidenceError: another run is at work here, or a manifest is damaged; nothing has been removed then.
    """
    if not (root / "Snakefile").is_file() or not (root / "configs" / "suites").is_dir():
        raise EvidenceError(f"{root}: is no checkout; run c2o inside one, or give --root DIR")
    removed = Removed()
    with nullcontext() if dry_run else run_lock(root):
        with _status("looking", quiet=as_json):
            found = find_garbage(root, read_needs(root))
        if not dry_run:
            with _status("removing", quiet=as_json):
                removed = remove(root, found.items)
    document = as_document(found, removed, dry_run=dry_run)
    print(json.dumps(document, indent=2) if as_json else describe(found, removed, dry_run=dry_run))
    return int(bool(removed.failed))


def groups(found: Found) -> dict[str, list[Item]]:
    """Items by reason, the largest group first."""
    result: dict[str, list[Item]] = {}
    for item in found.items:
        result.setdefault(item.reason, []).append(item)
    return dict(sorted(result.items(), key=lambda pair: -sum(item.size for item in pair[1])))


def as_document(found: Found, removed: Removed, *, dry_run: bool) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "dry_run": dry_run,
        "groups": [
            {"reason": reason, "bytes": sum(item.size for item in items), "files": sum(len(i.files) for i in items),
             "paths": [item.path for item in items]}
            for reason, items in groups(found).items()
        ],
        "removed": {"files": removed.files, "bytes": removed.size},
        "held": removed.held,
        "failed": removed.failed,
        "unknown_kept": found.unknown,
        "notes": found.notes,
    }  # fmt: skip


def describe(found: Found, removed: Removed, *, dry_run: bool) -> str:
    """The same for a reader."""
    lines = []
    for reason, items in groups(found).items():
        lines.append(f"{format_size(sum(item.size for item in items)):>9}  {reason}: {len(items)}")
        lines += [f"{'':11}{item.path}" for item in items[:SHOWN]]
        lines += [f"{'':11}… and {len(items) - SHOWN} more (--json lists all)"] if len(items) > SHOWN else []
    total = sum(item.size for item in found.items)
    if not found.items:
        lines.append("nothing to remove")
    elif dry_run:
        lines.append(f"{format_size(total):>9}  would be removed; `c2o gc` removes it")
    else:
        lines.append(f"{format_size(removed.size):>9}  removed ({removed.files} files)")
    lines += [f"kept: {path}: a running process holds it" for path in removed.held]
    if found.unknown:
        more = ", …" if len(found.unknown) > SHOWN else ""
        lines.append(f"unknown, kept: {len(found.unknown)} files ({', '.join(found.unknown[:SHOWN])}{more})")
    lines += [f"could not be removed: {text}" for text in removed.failed]
    return "\n".join([*lines, *(f"note: {text}" for text in found.notes)])


@contextmanager
def _status(what: str, *, quiet: bool) -> Iterator[None]:
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
