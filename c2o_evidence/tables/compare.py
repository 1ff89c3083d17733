"""The comparisons a suite asks for: paired over train seeds, with what they show and what they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from c2o_evidence import stats
from c2o_evidence.suite import Suite
from c2o_evidence.tables.rows import by_row, runs_of

Row = Mapping[str, Any]
RANK_TESTS = ("wilcoxon", "mann-whitney")


def build_comparisons(suite: Suite, runs: Sequence[Row], metric: str = "AP") -> list[dict[str, Any]]:
    """One row a comparison of the suite (schema `comparisons`), in its order.

    Raises EvidenceError if the two rows of a comparison were not run with the same train seeds.
    """
    rows = []
    groups = by_row(runs)
    for item in suite.comparisons:
        a, b = (runs_of(groups.get(name, []), name, metric) for name in (item.a, item.b))
        test = stats.paired_t(a, b)
        reasons = [
            stats.refuse_interval(test.n, "paired t test"),
            *(stats.refuse_test(name, test.n) for name in RANK_TESTS),
        ]
        refused = [reason for reason in reasons if reason is not None]
        rows.append(
            {
                "a": item.a,
                "b": item.b,
                "claim": item.claim or None,
                "metric": metric,
                "n_pairs": test.n,
                "mean_a": test.mean_a,
                "mean_b": test.mean_b,
                "mean_diff": test.mean_diff,
                "std_diff": test.std_diff,
                "ci95_low": test.ci_low,
                "ci95_high": test.ci_high,
                "wins": test.wins,
                "t": test.t,
                "df": test.df,
                "p_value": test.p,
                "holds": test.verdict,
                "refused": "; ".join(refused) or None,
            }
        )
    return rows


def verdict(row: Row) -> str:
    """What a comparison shows, in words that do not say more than the interval does."""
    if row["n_pairs"] < 2:
        return "cannot be tested: one train seed says nothing about others"
    if math.isnan(row["ci95_low"]):
        return "undefined: a run has no AP"
    wins = f"{row['wins']} of {row['n_pairs']} train seeds"
    if row["holds"] == "yes":
        return f"higher ({wins})"
    if row["holds"] == "no":
        return f"lower (higher in {wins})"
    return f"not distinguishable at n = {row['n_pairs']}: the interval holds 0 (higher in {wins})"
