"""What a check found: the kinds of fault, one fault, and the report of a whole check.

A finding names the file, where it applies the row and the column, what was expected and what is there, so
that a reader can go to the very cell. Exit codes follow from the report: 0 the evidence holds, 1 it does not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from c2o_evidence.verify.replay.result import ReplayResult

from c2o_evidence.limits import MAX_FINDINGS, MAX_MESSAGE
from c2o_evidence.printable import printable

Kind = Literal[
    "missing",  # listed, but not there
    "changed",  # there, with another content
    "extra",  # there, but not listed
    "unsafe",  # a link, a device, or a path that leaves the bundle
    "swapped",  # two listed files carry each other's content
    "stale",  # belongs to another state: a record, a sidecar, a digest cell or the ledger does not fit
    "row-edited",  # a cell differs from what the evidence below it gives
    "row-missing",  # a run or a row that the suite asks for is not there
    "row-extra",  # a run or a row that nothing asks for
    "used-twice",  # one seed, checkpoint or set of detections stands for two
    "row-reordered",  # the right rows in another order
    "swapped-between-seeds",  # a row holds the values of another seed's run
    "malformed",  # cannot be read as what it should be
    "not-reproduced",  # done again, it comes out otherwise, by more than the suite's tolerance
    "not-replayed",  # could not be done again
]

LEVELS = ("files", "tables", "eval", "train")


@dataclass(frozen=True)
class Finding:
    """One fault.

    `path` is relative to the bundle; `row` names a row by its keys (e.g. `exp_id=…, eval_seed=1`).
    """

    kind: Kind
    path: str
    message: str
    row: str = ""
    column: str = ""
    expected: str = ""
    found: str = ""

    def sort_key(self) -> tuple[str, str, str, str, str]:
        return (self.path, self.row, self.column, self.kind, self.message)

    def __str__(self) -> str:
        place = printable(self.path)
        if self.row:
            place += f": row {printable(self.row)}"
        if self.column:
            place += f": column {printable(self.column)}"
        text = f"{self.kind}: {place}: {printable(self.message, MAX_MESSAGE)}"
        if self.expected or self.found:
            text += f" (expected {printable(self.expected) or 'nothing'}, found {printable(self.found) or 'nothing'})"
        return text


@dataclass
class Report:
    """The outcome of one `verify`: findings, what was looked at (`counts`), and seconds per phase."""

    path: str
    level: str
    root_digest: str = ""
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    replay: ReplayResult | None = None  # levels eval and train

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1

    def add(self, findings: Iterable[Finding]) -> None:
        """Adds findings, keeps them sorted by place and each only once, and MAX_FINDINGS of them at most."""
        known = set(self.findings)
        for finding in findings:
            if len(known) >= MAX_FINDINGS:
                self.notes.append(f"there are more findings than the {MAX_FINDINGS} listed")
                break
            known.add(finding)
        self.findings = sorted(known, key=Finding.sort_key)

    def kinds(self) -> dict[str, int]:
        """How many findings of each kind, by kind."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))

    def to_dict(self) -> dict[str, Any]:
        document = {
            "path": self.path,
            "level": self.level,
            "verified": self.ok,
            "root_digest": self.root_digest,
            "counts": self.counts,
            "kinds": self.kinds(),
            "findings": [asdict(finding) for finding in self.findings],
            "notes": self.notes,
            "seconds": {phase: round(value, 3) for phase, value in self.seconds.items()},
        }
        return document if self.replay is None else document | {"replay": self.replay.to_dict()}

    def to_json(self) -> str:
        # ASCII alone: a terminal obeys nothing in it, and half a character has a spelling.
        return json.dumps(self.to_dict(), indent=2)
