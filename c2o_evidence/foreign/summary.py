"""Statistics of foreign runs by exp_name and sample_step, with what they cannot say and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from c2o_evidence import stats
from c2o_evidence.errors import EvidenceError, TableError
from c2o_evidence.foreign.reader import ForeignRuns, Group, Run

NO_TRAIN_SEEDS = (
    "95 % interval and variance split: refused, no train_seed: this is the spread of the sampling noise of "
    "checkpoints that are not told apart; it says nothing about another training"
)


def group_runs(runs: Sequence[Run]) -> dict[Group, list[Run]]:
    """Runs by (exp_name, sample_step), sorted; within a group by seeds.

    Raises:
        TableError: some rows of a group have a train seed and some have none.
    """
    groups: dict[Group, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.exp_name, run.sample_step), []).append(run)
    for (name, _), members in groups.items():
        without = next((run for run in members if run.train_seed is None), None)
        with_seed = next((run for run in members if run.train_seed is not None), None)
        if without is not None and with_seed is not None:
            raise TableError(
                f"{without.place}: exp_name {name} has no train_seed here, but one in {with_seed.place}; "
                "give all its rows one"
            )
        members.sort(key=lambda run: (run.train_seed or 0, run.eval_seed or 0))
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or 0)))


def by_train_seed(runs: Sequence[Run], metric: str) -> dict[int, list[float]]:
    """Train seed -> values over its eval seeds; empty where the rows name no train seeds."""
    values: dict[int, list[float]] = {}
    for run in runs:
        if run.train_seed is not None:
            values.setdefault(run.train_seed, []).append(run.values[metric])
    return values


def summarise(found: ForeignRuns, metric: str, interval: str = "t") -> list[dict[str, Any]]:
    """One mapping a group: counts, mean and deviations over all runs, interval and split over train seeds.

    Undefined numbers are nan, and `refused` says why. `interval`: `t` or `bootstrap`.

    Raises:
        EvidenceError: a bootstrap is asked for with too few train seeds.
        TableError: as `group_runs`.
    """
    return [
        _summary(group, members, metric, interval) | {"columns": found.extra.get(group, {})}
        for group, members in group_runs(found.runs).items()
    ]


def _summary(group: Group, runs: Sequence[Run], metric: str, interval: str) -> dict[str, Any]:
    values = [run.values[metric] for run in runs]
    digests = {run.train_seed: run.ckpt_sha256 for run in runs}
    seeds = by_train_seed(runs, metric)
    sizes = [len(group) for group in seeds.values()]
    means = [stats.mean(group) for group in seeds.values()]
    parts = stats.variance_components(list(seeds.values()))
    eval_seeds = len({run.eval_seed for run in runs if run.eval_seed is not None})
    if not seeds:
        refused = [NO_TRAIN_SEEDS]
    else:
        reasons = (stats.refuse_interval(len(seeds)), stats.refuse_split(sizes))
        refused = [reason for reason in reasons if reason is not None]
    low, high = stats.t_interval(means)
    if interval == "bootstrap":
        if reason := stats.refuse_bootstrap(len(seeds)):
            raise EvidenceError(f"{group[0]}: {reason}")
        low, high = stats.bootstrap_interval(means)
        cover = stats.bootstrap_coverage(len(seeds))
        refused.append(f"percentile bootstrap: at n = {len(seeds)} its 95 % interval covers about {100 * cover:.0f} %")
    if len(set(sizes)) > 1:
        refused.append(
            f"unequal: {min(sizes)} to {max(sizes)} runs a train seed; the mean is over runs, "
            "the interval around the mean over train seeds"
        )
    return {
        "exp_name": group[0],
        "sample_step": group[1],
        "metric": metric,
        "n_runs": len(values),
        "n_train_seeds": len(seeds) or None,
        "n_eval_seeds": eval_seeds or None,
        "mean": stats.mean(values),
        "std_pop": stats.std_pop(values),
        "std_sample": stats.std_sample(values),
        "mean_train_seeds": stats.mean(means),
        "std_train_seeds": stats.std_sample(means),
        "interval": interval,
        "ci95_low": low,
        "ci95_high": high,
        "std_between_train": math.sqrt(parts.between),
        "std_within_eval": math.sqrt(parts.within) if seeds else math.nan,
        "refused": refused,
        "train_seeds": [
            {
                "train_seed": seed,
                "n_runs": len(members),
                "mean": stats.mean(members),
                "std_pop": stats.std_pop(members),
                "std_sample": stats.std_sample(members),
                "ckpt_sha256": digests[seed],
            }
            for seed, members in seeds.items()
        ],
    }
