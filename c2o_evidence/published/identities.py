"""What the numbers of one row must be to each other, where the runs below them are not published.

With k train seeds of m eval seeds each, n = k m runs, the sums of squares add up: n s_pop^2 = (k - 1) MSB +
(n - k) MSW, with MSB = m s_train^2 (deviation of the train-seed means) and MSW the square of the spread within.
So an edited deviation, interval, component, difference, t or p is noticed, although a mean that nothing else
follows from is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from c2o_evidence import stats
from c2o_evidence.verify.findings import Finding

Row = Mapping[str, Any]
RELATIVE = 1e-9


def check_summary(path: str, rows: Sequence[Row], timing: Sequence[Row]) -> Iterator[Finding]:
    """Findings where a row of a summary contradicts itself or the timing."""
    times = {row["exp_id"]: row for row in reversed(timing)}
    for row in rows:
        k, m, n = row["n_train_seeds"], row["n_eval_seeds"], row["n_runs"]
        wanted: dict[str, float] = {}
        if k > 1 and m > 1 and n == k * m:
            msb, msw = m * row["std_AP_train_seeds"] ** 2, row["std_within_eval"] ** 2
            half = stats.t_quantile(0.975, k - 1) * row["std_AP_train_seeds"] / math.sqrt(k)
            wanted = {
                "std_AP_pop": math.sqrt(((k - 1) * msb + (n - k) * msw) / n),
                "std_AP_sample": row["std_AP_pop"] * math.sqrt(n / (n - 1)),
                "std_between_train": math.sqrt(max(0.0, (msb - msw) / m)),
                "ci95_low": row["mean_AP"] - half,
                "ci95_high": row["mean_AP"] + half,
            }
        if timed := times.get(row["exp_id"]):
            wanted |= {name: timed[name] for name in ("inference_s_per_img", "inference_fps")}
        yield from _differ(path, f"exp_id={row['exp_id']}", row, wanted)


def check_comparisons(path: str, rows: Sequence[Row], summary: Sequence[Row]) -> Iterator[Finding]:
    """Findings where a comparison contradicts itself or the summary."""
    balanced = [row for row in summary if row["n_runs"] == row["n_train_seeds"] * row["n_eval_seeds"]]
    means = {row["exp_id"]: row["mean_AP"] for row in balanced}
    for row in rows:
        n = row["n_pairs"]
        wanted: dict[str, float] = {"mean_diff": row["mean_a"] - row["mean_b"], "df": n - 1}
        if row["metric"] == "AP":
            wanted |= {f"mean_{side}": means[row[side]] for side in ("a", "b") if row[side] in means}
        if n > 1 and row["std_diff"] > 0:
            error = row["std_diff"] / math.sqrt(n)
            half = stats.t_quantile(0.975, n - 1) * error
            t = row["mean_diff"] / error
            wanted |= {"ci95_low": row["mean_diff"] - half, "ci95_high": row["mean_diff"] + half, "t": t}
            wanted["p_value"] = stats.p_of_t(t, n - 1)
        place = f"a={row['a']}, b={row['b']}"
        yield from _differ(path, place, row, wanted)
        holds = "yes" if row["ci95_low"] > 0 else "no" if row["ci95_high"] < 0 else "undecided"
        if row["holds"] != holds:
            yield Finding("row-edited", path, "does not follow from the interval", place, "holds", holds, row["holds"])
        if row["wins"] > n:
            message = "is more than there are pairs"
            yield Finding("row-edited", path, message, place, "wins", f"at most {n}", str(row["wins"]))


def _differ(path: str, place: str, row: Row, wanted: Mapping[str, float]) -> Iterator[Finding]:
    for column, value in wanted.items():
        # A difference of two means loses digits to cancellation: the tolerance is of the scale of AP.
        if not math.isclose(row[column], value, rel_tol=RELATIVE, abs_tol=RELATIVE):
            message = "does not fit the other numbers of this row"
            yield Finding("row-edited", path, message, place, column, repr(value), repr(row[column]))
