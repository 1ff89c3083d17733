"""Two sets of foreign runs against each other: paired over train seeds, unpaired, or by ranks where n allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from c2o_evidence import stats
from c2o_evidence.errors import EvidenceError
from c2o_evidence.foreign.reader import Group, Run
from c2o_evidence.foreign.summary import by_train_seed, group_runs
from c2o_evidence.schemas import did_you_mean
from c2o_evidence.tables import verdict

Seeds = dict[int, list[float]]


def are_files(a: str, b: str) -> bool:
    """Whether the two sides are files, not names of experiments."""
    return Path(a).is_file() and Path(b).is_file()


def choose(runs: Sequence[Run], name: str) -> list[Run]:
    """The runs of an exp_name, or of `EXP_NAME@STEPS` where it was run at several steps.

    Raises:
        EvidenceError: there are none, or they are of several settings.
    """
    names = {run.exp_name for run in runs} | {f"{run.exp_name}@{run.sample_step}" for run in runs}
    chosen = [run for run in runs if name in (run.exp_name, f"{run.exp_name}@{run.sample_step}")]
    if not chosen:
        raise EvidenceError(f"--compare: {name!r} is no exp_name or file here; {did_you_mean(name, names)}")
    groups = group_runs(chosen)
    if len(groups) > 1:
        known = ", ".join(map(_name, groups))
        raise EvidenceError(f"--compare: {name!r} has several settings; name one of {known}")
    return chosen


def _name(group: Group) -> str:
    return group[0] if group[1] is None else f"{group[0]}@{group[1]}"


def pairs(runs: Sequence[Run], a: str, b: str) -> list[tuple[str, list[Run], str, list[Run]]]:
    """What is set against what: (name, runs, name, runs). Two files: their one setting each, else all they share.

    Raises:
        EvidenceError: a side cannot be found, is the other one, or the files share no setting.
    """
    if not are_files(a, b):
        first, second = choose(runs, a), choose(runs, b)
        if first == second:
            raise EvidenceError(f"--compare: {a!r} and {b!r} are the same runs; name two settings")
        return [(a, first, b, second)]
    sides = [group_runs([run for run in runs if run.file == name]) for name in (a, b)]
    if all(len(side) == 1 for side in sides):
        return [(a, next(iter(sides[0].values())), b, next(iter(sides[1].values())))]
    common = [group for group in sides[0] if group in sides[1]]
    if not common:
        known = "; ".join(f"{name} has {', '.join(map(_name, side))}" for name, side in zip((a, b), sides, strict=True))
        raise EvidenceError(f"--compare: the files share no setting: {known}; name two exp_names and both files")
    return [(f"{a}:{_name(g)}", sides[0][g], f"{b}:{_name(g)}", sides[1][g]) for g in common]


def compare(a: str, first: Sequence[Run], b: str, second: Sequence[Run], metric: str, test: str) -> dict[str, Any]:
    """`a` against `b` over train seeds, each train seed's value being its mean over eval seeds; differences are a - b.

    `auto` pairs where both have the same train seeds and does not where they have none in common.

    Raises:
        EvidenceError: the test is refused: the message has the reason and the figure.
    """
    sides = [first, second]
    seeds = [by_train_seed(side, metric) for side in sides]
    for name, values in zip((a, b), seeds, strict=True):
        if not values:
            raise EvidenceError(
                f"--compare: {name}: refused, there is no train_seed: eval seeds of one checkpoint say nothing "
                "about another training (n = 1)"
            )
        if reason := stats.refuse_interval(len(values), f"{name}: t test"):
            raise EvidenceError(f"--compare: {reason}")
    kind = _kind(a, b, seeds[0], seeds[1], test)
    return {"a": a, "b": b, "metric": metric, "test": kind} | _run_test(kind, seeds[0], seeds[1])


def _kind(a: str, b: str, first: Seeds, second: Seeds, test: str) -> str:
    if test == "auto":
        common = set(first) & set(second)
        if common and set(first) != set(second):
            raise EvidenceError(
                f"--compare: {a} has train seeds {sorted(first)}, {b} has {sorted(second)}: neither the same "
                "nor all different; run the missing ones, or say --test unpaired"
            )
        return "paired" if common else "unpaired"
    if test in ("paired", "wilcoxon") and set(first) != set(second):
        odd = sorted(set(first) ^ set(second))
        raise EvidenceError(f"--test {test}: train seeds {odd} are on one side only; run them, or say --test unpaired")
    return test


def _run_test(kind: str, first: Seeds, second: Seeds) -> dict[str, Any]:
    reasons = [stats.refuse_test("mann-whitney", len(first), len(second))]
    if set(first) == set(second):
        reasons.insert(0, stats.refuse_test("wilcoxon", len(first)))
    refused = [reason for reason in reasons if reason is not None]
    if kind == "unpaired":
        result = asdict(stats.welch_t(first, second))
        return result | {"verdict": _unpaired_verdict(result), "refused": refused}
    if kind == "paired":
        paired = stats.paired_t(first, second)
        row = asdict(paired) | {"n_pairs": paired.n, "ci95_low": paired.ci_low, "holds": paired.verdict}
        return asdict(paired) | {"verdict": verdict(row), "refused": refused}
    sides = [[stats.mean(side[seed]) for seed in sorted(side)] for side in (first, second)]
    p = stats.rank_test(kind, sides[0], sides[1])
    means = [stats.mean(side) for side in sides]
    told = ("higher" if means[0] > means[1] else "lower") if p < 0.05 else "not distinguishable"
    result = {"n_a": len(first), "n_b": len(second), "mean_a": means[0], "mean_b": means[1]}
    return result | {"mean_diff": means[0] - means[1], "p": p, "verdict": told, "refused": refused}


def _unpaired_verdict(result: dict[str, Any]) -> str:
    if result["ci_low"] > 0:
        return "higher"
    if result["ci_high"] < 0:
        return "lower"
    if result["t"] != result["t"]:
        return "undefined: nothing varies"
    return f"not distinguishable at n = {result['n_a']} and {result['n_b']}: the interval holds 0"
