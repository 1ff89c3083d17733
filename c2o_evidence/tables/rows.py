"""The rows of the summary and of the main table, from runs and timings.

A *run* is one checkpoint evaluated with one eval seed. Means and deviations are over all runs of a row;
intervals are over train seeds, each seed's value being its mean over eval seeds, because runs of one
checkpoint are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from c2o_evidence import stats
from c2o_evidence.metrics import OF_SOME_SETS
from c2o_evidence.suite import Suite, SuiteRow

Row = Mapping[str, Any]
SIZES = ("AP50", "AP75", "APs", "APm", "APl")


def by_row(runs: Sequence[Row]) -> dict[str, list[Row]]:
    """The runs of each row of the suite, in their order; for asking `runs_of` about many rows."""
    groups: dict[str, list[Row]] = {}
    for run in runs:
        groups.setdefault(run["exp_name"], []).append(run)
    return groups


def runs_of(runs: Sequence[Row], exp_id: str, metric: str = "AP") -> dict[int, list[float]]:
    """Train seed -> the metric's values over its eval seeds, both ascending."""
    groups: dict[int, list[float]] = {}
    for run in sorted(runs, key=lambda run: (run["train_seed"], run["eval_seed"])):
        if run["exp_name"] == exp_id:
            groups.setdefault(run["train_seed"], []).append(run[metric])
    return groups


def timing_of(timing: Sequence[Row], exp_id: str) -> Row | None:
    """The timing of a row of the suite (the first, if several train seeds were timed), or None."""
    return next((row for row in timing if row["exp_id"] == exp_id), None)


def _speedups(suite: Suite, timing: Sequence[Row], exp_id: str) -> tuple[float, str | None, list[str]]:
    """The speed-up over the first slow row asked for, all slow rows, and notes where there is more to say."""
    slow_rows = [item.slow for item in suite.speedups if item.fast == exp_id]
    values: list[float] = []
    notes: list[str] = []
    fast = timing_of(timing, exp_id)
    for name in slow_rows:
        slow = timing_of(timing, name)
        if fast is None or slow is None:
            values.append(math.nan)
        elif fast["hardware_id"] != slow["hardware_id"]:
            values.append(math.nan)
            notes.append(f"no speed-up over {name}: timed on other hardware")
        else:
            values.append(slow["inference_s_per_img"] / fast["inference_s_per_img"])
    if len(slow_rows) > 1:
        notes.append("speed-ups " + ";".join(f"{value:.2f}" for value in values))
    return (values[0] if values else math.nan), (";".join(slow_rows) or None), notes


def summary_row(
    suite: Suite, row: SuiteRow, runs: Sequence[Row], timing: Sequence[Row], *, more: Sequence[str] = ()
) -> dict[str, Any]:
    """One row of the summary (schema `summary`), with a column for VOC 2007 AP where asked for.

    `runs`: those of the row; more do no harm.
    """
    groups = runs_of(runs, row.exp_id)
    values = [value for group in groups.values() for value in group]
    means = [stats.mean(group) for group in groups.values()]
    low, high = stats.t_interval(means)
    parts = stats.variance_components(list(groups.values()))
    timed = timing_of(timing, row.exp_id)
    speedup, over, notes = _speedups(suite, timing, row.exp_id)
    if suite.experiment(row.experiment).shared:
        notes.append("one training for all train seeds")
    result = {
        "exp_id": row.exp_id,
        "label": row.label or row.exp_id,
        "experiment": row.experiment,
        "sample_step": row.sample_step,
        "n_runs": len(values),
        "n_train_seeds": len(groups),
        "n_eval_seeds": min((len(group) for group in groups.values()), default=0),
        "mean_AP": stats.mean(values),
        "std_AP_pop": stats.std_pop(values),
        "std_AP_sample": stats.std_sample(values),
        "std_AP_train_seeds": stats.std_sample(means),
        "ci95_low": low,
        "ci95_high": high,
        "std_between_train": math.sqrt(parts.between),
        "std_within_eval": math.sqrt(parts.within),
    }
    for metric in SIZES:
        result[f"mean_{metric}"] = stats.mean(
            [v for group in runs_of(runs, row.exp_id, metric).values() for v in group]
        )
    result["inference_s_per_img"] = timed["inference_s_per_img"] if timed is not None else math.nan
    result["inference_fps"] = timed["inference_fps"] if timed is not None else math.nan
    result["speedup"] = speedup
    result["speedup_over"] = over
    result["hardware_id"] = timed["hardware_id"] if timed is not None else None
    result["notes"] = "; ".join(notes) or None
    for name in more:
        result[f"mean_{name}"] = stats.mean([v for group in runs_of(runs, row.exp_id, name).values() for v in group])
    return result | _selected(suite, row.exp_id)


def _selected(suite: Suite, exp_id: str) -> dict[str, str | None]:
    """The column `selected`, in tables of a suite that has a selected row."""
    if not any(row.selected for row in suite.rows):
        return {}
    selected = suite.row(exp_id).selected
    return {"selected": str(selected) if selected else None}


def beside(suite: Suite, exp_ids: Sequence[str]) -> list[int]:
    """The order of a table's rows (indices of `exp_ids`): a selected row comes directly below its unselected one.

    All others keep their places; several rows selected from one stand below it in their order.
    """
    unselected = {row.exp_id: row.selected.unselected for row in suite.rows if row.selected}
    order = [index for index, exp_id in enumerate(exp_ids) if unselected.get(exp_id) not in exp_ids]
    for index, exp_id in reversed(list(enumerate(exp_ids))):
        if index not in order:
            last = max(place for place, other in enumerate(order) if exp_ids[other] == unselected[exp_id])
            order.insert(last + 1, index)
    return order


def build_summary(suite: Suite, runs: Sequence[Row], timing: Sequence[Row]) -> list[dict[str, Any]]:
    """The summary, one row a row of the suite, in its order, but selected rows beside their unselected ones.

    `runs`: schema `results`; `timing`: schema `timing`.
    """
    groups, more = by_row(runs), [name for name in OF_SOME_SETS if runs and name in runs[0]]
    rows = [suite.rows[index] for index in beside(suite, [row.exp_id for row in suite.rows])]
    return [summary_row(suite, row, groups.get(row.exp_id, []), timing, more=more) for row in rows]


def build_main(suite: Suite, summary: Sequence[Row]) -> list[dict[str, Any]]:
    """The main table (schema `main`): what the suite prints beside the numbers of a summary row, in its
    order, but selected rows beside their unselected ones.
    """
    by_id = {row["exp_id"]: row for row in summary}
    rows = []
    for spec in (suite.main_table[i] for i in beside(suite, [spec.exp_id for spec in suite.main_table])):
        numbers = by_id[spec.exp_id]
        row: dict[str, Any] = {"method": spec.method, "type": spec.type, "backbone": spec.backbone}
        row |= {"epochs": str(spec.epochs), "exp_id": spec.exp_id}
        row |= {key: numbers[key] for key in ("n_runs", "mean_AP", "std_AP_pop")}
        row |= {f"mean_{metric}": numbers[f"mean_{metric}"] for metric in SIZES}
        row |= {"inference_fps": numbers["inference_fps"], "notes": spec.notes or None}
        rows.append(row | _selected(suite, spec.exp_id))
    return rows
