"""The ledger `manifests/deliverables.tsv`: which content is frozen under which name, and what was before.

One row a freeze (schema `deliverables`): the current one of a name, and those it has superseded. The root
digest is the SHA-256 of the bundle's SHA256SUMS, so it stands for every byte of the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.errors import FrozenError, TableError
from c2o_evidence.tsv import format_tsv, read_tsv

SCHEMA = "deliverables"


@dataclass(frozen=True)
class Frozen:
    """The current freeze of a name. `history`: root digests it has superseded, oldest first."""

    name: str
    revision: int
    root_sha256: str
    files: int
    bytes: int
    history: tuple[str, ...] = ()


def default_ledger(deliverable_dir: Path) -> Path:
    """`manifests/deliverables.tsv` of the checkout that holds `deliverables/NAME`."""
    return deliverable_dir.parent.parent / "manifests" / "deliverables.tsv"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of the ledger; none if there is no ledger yet. Raises TableError if it is damaged."""
    return read_tsv(path, SCHEMA) if path.exists() else []


def current(rows: list[dict[str, Any]], name: str, path: Path | str = "deliverables.tsv") -> Frozen | None:
    """What is frozen under `name`, or None.

    Raises TableError unless exactly one row of a known name is current.
    """
    mine = [row for row in rows if row["name"] == name]
    if not mine:
        return None
    now = [row for row in mine if row["state"] == "current"]
    if len(now) != 1 or now[0] is not mine[-1]:
        raise TableError(f"{path}: name: {name} needs one row that is current, its last; restore the file")
    history = tuple(row["root_sha256"] for row in mine[:-1])
    row = now[0]
    return Frozen(name, row["revision"], row["root_sha256"], row["files"], row["bytes"], history)


def current_by_name(rows: list[dict[str, Any]], path: Path | str = "deliverables.tsv") -> dict[str, Frozen]:
    """What is frozen, by name. Raises TableError if a name has no current row, or several."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row)
    found = ((name, current(groups[name], name, path)) for name in sorted(groups))
    return {name: frozen for name, frozen in found if frozen is not None}


def read_ledger(path: Path) -> dict[str, Frozen]:
    """What is frozen, by name. Raises TableError if the ledger is damaged."""
    return current_by_name(read_rows(path), path)


def with_freeze(
    rows: list[dict[str, Any]], name: str, root_sha256: str, files: int, n_bytes: int, *, supersede: bool
) -> list[dict[str, Any]]:
    """The rows after freezing `root_sha256` under `name`; unchanged if that is what is frozen already.

    Raises FrozenError if something else is frozen and `supersede` is false.
    """
    frozen = current(rows, name)
    if frozen is not None and frozen.root_sha256 == root_sha256:
        return rows
    if frozen is not None and not supersede:
        raise FrozenError(f"{name}: {frozen.root_sha256} is frozen under this name")
    kept = [{**row, "state": "superseded"} if row["name"] == name else row for row in rows]
    new = {
        "name": name,
        "revision": frozen.revision + 1 if frozen is not None else 1,
        "state": "current",
        "root_sha256": root_sha256,
        "files": files,
        "bytes": n_bytes,
        "notes": None,
    }
    return [*kept, new]


def ledger_text(rows: list[dict[str, Any]]) -> str:
    """The ledger's bytes."""
    return format_tsv(rows, SCHEMA, "deliverables.tsv")
