"""Tables that look closer than AP: by class, by source of variance, by recall, by confused classes, by kind of error.

The first two follow from the runs alone, the others from what c2o_evidence.analysis counts in the detections of each.
All means are over the runs of a row of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2o_evidence import stats
from c2o_evidence.analysis import BACKGROUND, IOUS, KINDS, MISSED, RECALLS, RunAnalysis
from c2o_evidence.annotations import load_ground_truth
from c2o_evidence.detections import read_class_names, read_detections
from c2o_evidence.errors import TableError
from c2o_evidence.suite import Suite
from c2o_evidence.tables.rows import by_row, runs_of

Row = Mapping[str, Any]
RunId = tuple[str, int, int]
"""(exp_id, train seed, eval seed)."""

CLASS_COLUMN = "AP-"


def categories(runs: Sequence[Row]) -> list[str]:
    """The classes of a table of runs, in the order of its columns."""
    return [name.removeprefix(CLASS_COLUMN) for name in (runs[0] if runs else ()) if name.startswith(CLASS_COLUMN)]


def build_per_class(suite: Suite, runs: Sequence[Row]) -> list[dict[str, Any]]:
    """AP of each row and class (schema `per_class`)."""
    groups, rows = by_row(runs), []
    for row in suite.rows:
        for category in categories(runs):
            seeds = runs_of(groups.get(row.exp_id, []), row.exp_id, f"{CLASS_COLUMN}{category}")
            values = [value for group in seeds.values() for value in group]
            low, high = stats.t_interval([stats.mean(group) for group in seeds.values()])
            rows.append(
                {
                    "exp_id": row.exp_id,
                    "category": category,
                    "n_runs": len(values),
                    "mean_AP": stats.mean(values),
                    "std_AP_pop": stats.std_pop(values),
                    "ci95_low": low,
                    "ci95_high": high,
                }
            )
    return rows


def build_variance(suite: Suite, runs: Sequence[Row]) -> list[dict[str, Any]]:
    """How much of the variance of AP is between train seeds, how much between eval seeds (schema `variance`)."""
    groups, rows = by_row(runs), []
    for row in suite.rows:
        parts = stats.variance_components(list(runs_of(groups.get(row.exp_id, []), row.exp_id).values()))
        whole = parts.between + parts.within
        rows.append(
            {
                "exp_id": row.exp_id,
                "n_runs": parts.values,
                "n_train": parts.groups,
                "var_train": parts.between,
                "var_eval": parts.within,
                "share_train": parts.between / whole if whole > 0 else stats.NAN,
            }
        )
    return rows


def build_precision_recall(suite: Suite, analyses: Mapping[RunId, RunAnalysis]) -> list[dict[str, Any]]:
    """Mean precision of each row at each IoU and recall (schema `precision_recall`)."""
    rows = []
    for exp_id, runs in _of_rows(suite, analyses):
        for iou in IOUS:
            for index, recall in enumerate(RECALLS):
                values = [run.precision[iou][index] for run in runs]
                mean, spread = stats.mean(values), stats.std_pop(values)
                rows.append({"exp_id": exp_id, "iou": iou, "recall": recall, "precision": mean, "std_pop": spread})
    return rows


def build_confusion(
    suite: Suite, analyses: Mapping[RunId, RunAnalysis], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """How often a run of each row takes one class for another (schema `confusion`)."""
    rows = []
    for exp_id, runs in _of_rows(suite, analyses):
        pairs = {pair for run in runs for pair, count in run.confusion.items() if count}
        order = {name: place for place, name in enumerate([*class_names, BACKGROUND, MISSED])}
        for truth, predicted in sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])):
            per_run = stats.mean([run.confusion.get((truth, predicted), 0) for run in runs])
            rows.append({"exp_id": exp_id, "truth": truth, "predicted": predicted, "per_run": per_run})
    return rows


def build_errors(suite: Suite, analyses: Mapping[RunId, RunAnalysis]) -> list[dict[str, Any]]:
    """How many errors of each kind an image has in a run of each row (schema `errors`)."""
    rows = []
    for exp_id, runs in _of_rows(suite, analyses):
        for kind in KINDS:
            values = [run.errors.get(kind, 0) / run.images if run.images else stats.NAN for run in runs]
            mean, spread = stats.mean(values), stats.std_pop(values)
            rows.append({"exp_id": exp_id, "kind": kind, "per_image": mean, "std_pop": spread})
    return rows


def _of_rows(suite: Suite, analyses: Mapping[RunId, RunAnalysis]) -> list[tuple[str, list[RunAnalysis]]]:
    """The runs of each row of the suite, by seeds."""
    groups: dict[str, list[RunAnalysis]] = {row.exp_id: [] for row in suite.rows}
    for key in sorted(analyses):
        groups[key[0]].append(analyses[key])
    return list(groups.items())


def analyse_runs(base: Path, suite: Suite, annotations: Path) -> dict[RunId, RunAnalysis]:
    """What the stored detections of all runs of a suite hold.

    Args:
        base: `results/SUITE` or a bundle. annotations: the file that they were evaluated on.

    Raises:
        TableError, DetectionsError: a file is missing or damaged, or a run is not in it.
    """
    from c2o_evidence.analysis.run import Analyst

    if not suite.rows:
        return {}
    truth, analyses = load_ground_truth(annotations), {}
    analysts: dict[tuple[str, ...], Analyst] = {}
    for experiment, seed in suite.eval_jobs:
        path = base / "eval" / experiment / f"seed{seed}" / "detections.safetensors"
        names = read_class_names(path) or truth.class_names
        if names not in analysts:
            analysts[names] = Analyst(truth, names)
        found = read_detections(path)
        for row in suite.rows_of(experiment):
            for eval_seed in suite.eval_seeds:
                if (row.exp_id, eval_seed) not in found:
                    raise TableError(f"{path}: {row.exp_id}/{eval_seed}: this run is not there; evaluate again")
                analyses[row.exp_id, seed, eval_seed] = analysts[names].analyse(found[row.exp_id, eval_seed])
    return analyses
