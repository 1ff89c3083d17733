"""Comparing two bundles or two tables: what is the same, what moved and by how much, and what cannot be compared."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.diff.bundles import decided_by, diff_bundles
from c2o_evidence.diff.sides import Bundle, Table, load
from c2o_evidence.diff.tables import diff_ledgers, diff_tables
from c2o_evidence.diff.verdicts import EQUAL, Section, Verdict, whole
from c2o_evidence.errors import EvidenceError

__all__ = ["Diff", "diff"]


@dataclass
class Diff:
    """The outcome of one comparison of A and B; numbers are B - A."""

    a: Table | Bundle
    b: Table | Bundle
    kind: str
    verdict: Verdict
    sections: list[Section]

    @property
    def exit_code(self) -> int:
        """0 if the numbers are the same, 1 if not, or if they cannot be compared."""
        return 0 if self.verdict in EQUAL else 1

    def to_dict(self) -> dict[str, Any]:
        """For machines; undefined numbers are null, and identical rows are only counted."""
        sections = []
        for item in self.sections:
            told = asdict(item)
            for name in ("rows", "settings"):
                for row in told[name]:
                    for move in row["moves"]:
                        move["delta"] = move["b"] - move["a"]
            sections.append(told)
        document = {
            "a": {"name": self.a.name, "vouched": self.a.vouched, "sha256": _digest(self.a)},
            "b": {"name": self.b.name, "vouched": self.b.vouched, "sha256": _digest(self.b)},
            "kind": self.kind,
            "verdict": self.verdict,
            "sections": sections,
        }
        plain: dict[str, Any] = _without_nan(document)
        return plain


def diff(a: Path | str, b: Path | str, *, root: Path | None = None, verify: bool = False) -> Diff:
    """Compares A with B.

    Args:
        a, b: two bundles (directory, or name in `deliverables/`), or two TSVs of one kind: results, results manifest,
            summary, timing, ledger.
        root: the checkout; default: here.
        verify: run level `files` on the bundles first.

    Raises:
        EvidenceError: they are not two of a kind, or not readable.
        DigestError: a side does not hold against its own list of digests.
    """
    here = root if root is not None else Path.cwd()
    left, right = (load(str(what), here, verify=verify) for what in (a, b))
    if isinstance(left, Bundle) and isinstance(right, Bundle):
        sections = diff_bundles(left, right)
        return Diff(left, right, "bundle", _of_bundles(left, right, sections), sections)
    if isinstance(left, Bundle) or isinstance(right, Bundle) or left.kind != right.kind:
        kinds = ["a bundle" if isinstance(side, Bundle) else f"a {side.kind} table" for side in (left, right)]
        raise EvidenceError(f"{a} is {kinds[0]}, {b} {kinds[1]}; give two of a kind")
    names, title = (left.name, right.name), "rows"
    if left.kind == "deliverables":
        found = diff_ledgers(left.text, right.text, names, title)
    else:
        found = diff_tables(left.kind, left.text, right.text, names, title)
    verdict = found.verdict
    if verdict == "identical" and left.sha256 != right.sha256:
        verdict = "same numbers"  # e.g. rows of a timing in another order
    return Diff(left, right, left.kind, verdict, [found])


def _of_bundles(a: Bundle, b: Bundle, sections: list[Section]) -> Verdict:
    if a.root_digest == b.root_digest:
        return "identical"
    deciding = decided_by(sections)
    if not deciding:
        return "differs"  # no rows: nothing but files to go by
    verdict = whole(Counter(item.verdict for item in deciding))
    return "same numbers" if verdict == "identical" else verdict


def _digest(side: Table | Bundle) -> str:
    return side.root_digest if isinstance(side, Bundle) else side.sha256


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
