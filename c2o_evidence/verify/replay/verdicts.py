"""The verdict of a run and of a table row: bit-exact, within the declared tolerance, or different, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from c2o_evidence.metrics import OF_SOME_SETS
from c2o_evidence.stats import mean

Verdict = Literal["bit-exact", "within-tolerance", "differs", "not-replayed"]
VERDICTS: tuple[Verdict, ...] = ("bit-exact", "within-tolerance", "differs", "not-replayed")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Delta:
    """A metric that is not the same: what the bundle says, what came out here, how far apart they may be (points)."""

    metric: str
    bundle: float
    here: float
    tolerance: float

    @property
    def amount(self) -> float:
        """`here` minus `bundle`; nan where one of them is undefined."""
        return self.here - self.bundle

    @property
    def within(self) -> bool:
        return abs(self.amount) <= self.tolerance

    @property
    def excess(self) -> float:
        """How far beyond its tolerance; infinite where only one is defined."""
        return math.inf if math.isnan(self.amount) else abs(self.amount) - self.tolerance


@dataclass(frozen=True)
class Judged:
    """A verdict with its deltas, the one furthest beyond (or nearest to) its tolerance first."""

    verdict: Verdict
    deltas: tuple[Delta, ...] = ()

    @property
    def worst(self) -> Delta | None:
        return self.deltas[0] if self.deltas else None


def metrics_of(row: Row) -> list[str]:
    """The metric columns of a results row, in their order."""
    return [name for name in row if name.startswith("AP") or name in OF_SOME_SETS]


def tolerance_of(metric: str, tolerances: Mapping[str, float]) -> float:
    """The tolerance of a column: its own, `per_class` for those of one class, 0 where none is declared."""
    return tolerances.get("per_class" if metric.startswith(("AP-", "AP_voc07-")) else metric, 0.0)


def deltas(bundle: Row, here: Row, tolerances: Mapping[str, float]) -> tuple[Delta, ...]:
    """Metrics of two rows that are not the same value; undefined equals undefined, a column that lacks is undefined."""
    names = dict.fromkeys([*metrics_of(bundle), *metrics_of(here)])
    found = []
    for name in names:
        old, new = float(bundle.get(name, math.nan)), float(here.get(name, math.nan))
        if old != new and not (math.isnan(old) and math.isnan(new)):
            found.append(Delta(name, old, new, tolerance_of(name, tolerances)))
    return tuple(sorted(found, key=lambda delta: -delta.excess))


def judge(bundle: Row, here: Row, tolerances: Mapping[str, float], *, same_detections: bool) -> Judged:
    """The verdict of a run.

    Other detections with the same metrics are not bit-exact: they pass where a tolerance above 0 is declared.
    """
    found = deltas(bundle, here, tolerances)
    if same_detections and not found:
        return Judged("bit-exact")
    tolerant = any(value > 0 for value in tolerances.values())
    return Judged("within-tolerance" if tolerant and all(delta.within for delta in found) else "differs", found)


def judge_mean(
    bundle: Sequence[Row], here: Sequence[Row], tolerances: Mapping[str, float], *, bit_exact: bool
) -> Judged:
    """The verdict of a table row: means over its runs. `bit_exact`: all runs are."""
    if bit_exact:
        return Judged("bit-exact")
    means = [{name: mean([row[name] for row in rows]) for name in metrics_of(rows[0])} for rows in (bundle, here)]
    return judge(means[0], means[1], tolerances, same_detections=False)
