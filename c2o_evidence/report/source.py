"""Where the results of a suite lie that a page shows, and what of them is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from c2o_evidence.suite import Suite
from c2o_evidence.tsv import read_tsv

Row = Mapping[str, Any]


def claim_of(row: Row) -> str:
    """What a row of the comparisons is meant to show."""
    return str(row["claim"] or f"{row['a']} is better than {row['b']}")


@dataclass(frozen=True)
class Source:
    """Results of one suite.

    Attributes:
        base: a bundle, or `results/SUITE`.
        data: the directory with `val.json`; None where the suite needs no data.
        prefix: what ids in the page begin with, so that several suites can stand in one.
        place: the directory as commands name it, from the checkout.
        frozen: whether it is a bundle, which `c2o verify` can check.
    """

    base: Path
    suite: Suite
    data: Path | None
    prefix: str = ""
    place: str = ""
    frozen: bool = True

    def has(self, name: str) -> bool:
        """Whether a file is there, by its path below the base."""
        path = self.base / name
        return path.is_file() and not path.is_symlink()

    def optional(self, table: str) -> list[dict[str, Any]]:
        """The rows of `tables/TABLE.tsv`; none where the results have no such table."""
        name = f"tables/{table}.tsv"
        return read_tsv(self.base / name, table) if self.has(name) else []

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        return read_tsv(self.base / "tables" / "runs.tsv", "results")

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        return read_tsv(self.base / "tables" / "summary.tsv", "summary")

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
        return read_tsv(self.base / "tables" / "comparisons.tsv", "comparisons")

    @cached_property
    def timing(self) -> list[dict[str, Any]]:
        return read_tsv(self.base / "timing" / "timing.tsv", "timing") if self.suite.timing is not None else []

    @cached_property
    def attention(self) -> list[dict[str, Any]]:
        if self.suite.attention is None:
            return []
        return read_tsv(self.base / "attention" / "attention.tsv", "attention")

    @cached_property
    def manifest(self) -> list[dict[str, Any]]:
        return read_tsv(self.base / "manifest.tsv", "manifest")

    @cached_property
    def labels(self) -> dict[str, str]:
        """What each row is called, by its exp_id."""
        return {row["exp_id"]: row["label"] for row in self.summary}

    def anchor(self, kind: str, name: str = "") -> str:
        """The id in the page of a part of this suite."""
        return "-".join(part for part in (f"{self.prefix}{kind}", name) if part)

    def compared(self, row: Row) -> str:
        """The id in the page of what is behind a row of the comparisons."""
        return self.anchor("compare", f"{row['a']}-{row['b']}")

    def known(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """The exp_ids of a table, in the summary's order."""
        there = {row["exp_id"] for row in rows}
        return [row["exp_id"] for row in self.summary if row["exp_id"] in there]
