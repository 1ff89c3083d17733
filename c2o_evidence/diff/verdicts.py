"""What a comparison says: of a number, of a row, of a table, of the whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from c2o_evidence import stats

Verdict = Literal[
    "identical",  # the same bytes
    "same numbers",  # other bytes, the same values; it is said what differs
    "moved",  # a number is another one
    "differs",  # not a number, and another one
    "added",  # in B alone
    "removed",  # in A alone
    "not comparable",  # it is said why
]
VERDICTS: tuple[Verdict, ...] = ("identical", "same numbers", "moved", "differs", "added", "removed", "not comparable")
EQUAL: tuple[Verdict, ...] = ("identical", "same numbers")


@dataclass(frozen=True)
class Test:
    """A t test of B - A over train seeds, or why there is none (`refused`).

    Attributes:
        kind: `paired t`, `Welch t` or empty.
        n_a, n_b: train seeds.
        df: degrees of freedom.
        ci_low, ci_high: 95 % interval of the difference.
    """

    kind: str
    n_a: int
    n_b: int
    ci_low: float = math.nan
    ci_high: float = math.nan
    t: float = math.nan
    df: float = math.nan
    p: float = math.nan
    refused: str = ""


@dataclass(frozen=True)
class Move:
    """A number that is another one in B."""

    column: str
    a: float
    b: float
    test: Test | None = None

    @property
    def delta(self) -> float:
        """B - A; nan where one of the two is undefined."""
        return self.b - self.a


@dataclass(frozen=True)
class RowDiff:
    """One row: what names it, the verdict, what else there is to say, and the numbers that moved."""

    row: str
    verdict: Verdict
    says: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()


@dataclass
class Section:
    """The comparison of one table or one aspect.

    Attributes:
        counts: rows by verdict, the identical ones too.
        rows: the rows that are not identical.
        settings: what stands for all seeds of one row of a suite, with tests; none where rows have no seeds.
        facts: sentences about the whole section.
        decides: whether it counts for the verdict of the whole; what only follows from other sections does not.
    """

    title: str
    verdict: Verdict
    counts: Mapping[Verdict, int] = field(default_factory=dict)
    rows: Sequence[RowDiff] = ()
    settings: Sequence[RowDiff] = ()
    facts: Sequence[str] = ()
    decides: bool = True


def whole(counts: Mapping[Verdict, int]) -> Verdict:
    """The verdict over rows: equal if all are; not comparable if nothing could be compared; else what weighs most."""
    present = {verdict for verdict, count in counts.items() if count}
    if not present or present == {"identical"}:
        return "identical"
    if present <= set(EQUAL):
        return "same numbers"
    if "moved" in present:
        return "moved"
    if "not comparable" in present and not present & {*EQUAL, "differs"}:
        return "not comparable"
    return "differs"


def section(
    title: str,
    rows: Iterable[RowDiff],
    *,
    settings: Sequence[RowDiff] = (),
    facts: Sequence[str] = (),
    decides: bool = True,
) -> Section:
    """A section with the verdict that follows from its rows and settings."""
    counts: Counter[Verdict] = Counter()
    kept = []
    for row in rows:
        counts[row.verdict] += 1
        if row.verdict != "identical":
            kept.append(row)
    both = counts + Counter(row.verdict for row in settings)
    return Section(title, whole(both), dict(counts), kept, settings, facts, decides)


def over_seeds(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> Test:
    """The test of B - A that these train seeds allow: paired where they are the same, else Welch's over their means.

    Args:
        a, b: train seed -> values over its eval seeds, one or more.
    """
    if set(a) == set(b):
        paired = stats.paired_t(b, a)
        numbers = (paired.ci_low, paired.ci_high, paired.t, paired.df, paired.p)
        return _judged("paired t", paired.n, paired.n, numbers)
    return _welch(stats.welch_t(b, a))


def from_moments(a: tuple[float, float, int], b: tuple[float, float, int]) -> Test:
    """Welch's test of B - A from mean, sample standard deviation and number of the train-seed means of each side."""
    return _welch(stats.welch_of_moments(b, a))


def _welch(test: stats.WelchT) -> Test:
    """The test of B - A: B comes first in it."""
    return _judged("Welch t", test.n_b, test.n_a, (test.ci_low, test.ci_high, test.t, test.df, test.p))


def _judged(kind: str, n_a: int, n_b: int, numbers: tuple[float, float, float, float, float]) -> Test:
    """The test, or the figure that forbids it."""
    if min(n_a, n_b) < 2:
        sizes = f"n = {n_a}" if n_a == n_b else f"n = {n_a} and {n_b}"
        return Test("", n_a, n_b, refused=f"no test: {sizes} train seeds; 2 or more are needed on each side")
    low, high, t, df, p = numbers
    if math.isnan(p):
        why = "a run is undefined" if math.isnan(low) else "the train seeds do not vary, so there is no p"
        return Test("", n_a, n_b, low, high, refused=f"no test: {why} (n = {n_a} and {n_b})")
    return Test(kind, n_a, n_b, low, high, t, df, p)


def same_number(a: Any, b: Any) -> bool:
    """Whether two cells hold the same value; two undefined numbers do."""
    return bool(a == b) or (a != a and b != b)
