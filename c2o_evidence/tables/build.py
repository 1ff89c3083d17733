"""From a directory of results to the bytes of all its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2o_evidence import stats
from c2o_evidence.analysis import RunAnalysis
from c2o_evidence.atomic import atomic_write
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import TableError
from c2o_evidence.suite import Suite
from c2o_evidence.tables.compare import build_comparisons
from c2o_evidence.tables.detail import (
    RunId,
    analyse_runs,
    build_confusion,
    build_errors,
    build_per_class,
    build_precision_recall,
    build_variance,
    categories,
)
from c2o_evidence.tables.rows import build_main, build_summary, by_row, runs_of
from c2o_evidence.tables.text import main_latex, main_markdown, summary_latex, summary_markdown
from c2o_evidence.tsv import format_tsv, read_tsv

Row = Mapping[str, Any]


def read_runs(base: Path, suite: Suite) -> list[dict[str, Any]]:
    """All runs of a suite from `eval/EXP/seedS/results.tsv` below `base` (`results/SUITE` or a bundle).

    Raises:
        TableError: a file is missing or damaged, or its runs are not exactly those that the suite asks for.
    """
    runs = []
    for experiment, seed in suite.eval_jobs:
        path = base / "eval" / experiment / f"seed{seed}" / "results.tsv"
        rows = read_tsv(path, "results")
        wanted = {(row.exp_id, seed, e) for row in suite.rows_of(experiment) for e in suite.eval_seeds}
        found = {(row["exp_name"], row["train_seed"], row["eval_seed"]) for row in rows}
        if wanted != found:
            odd = sorted(wanted ^ found)[0]
            what = "is missing" if odd in wanted else "is not one of this suite"
            raise TableError(
                f"{path}: exp_name={odd[0]}, train_seed={odd[1]}, eval_seed={odd[2]}: {what}; evaluate again"
            )
        runs += rows
    return runs


def read_timing(base: Path, suite: Suite) -> list[dict[str, Any]]:
    """The timings of a suite below `base`; none where the suite asks for none. Raises TableError."""
    return read_tsv(base / "timing" / "timing.tsv", "timing") if suite.timing is not None else []


def build_all(
    suite: Suite, runs: Sequence[Row], timing: Sequence[Row], analyses: Mapping[RunId, RunAnalysis] | None = None
) -> dict[str, str]:
    """Every file of `tables/` by its name: TSVs in full precision, Markdown and LaTeX rounded from them.

    Args:
        analyses: what is in the detections of each run; without it, tables that need that are left out.
    """
    summary = build_summary(suite, runs, timing)
    main = build_main(suite, summary)
    comparisons = build_comparisons(suite, runs)
    title = suite.title or suite.name
    files = {
        "runs.tsv": format_tsv(runs, "results", "tables/runs.tsv"),
        "summary.tsv": format_tsv(summary, "summary", "tables/summary.tsv"),
        "summary.md": summary_markdown(title, summary, comparisons, timing),
        "summary.tex": summary_latex(summary),
        "main.tsv": format_tsv(main, "main", "tables/main.tsv"),
        "main.md": main_markdown(title, main),
        "main.tex": main_latex(main),
        "comparisons.tsv": format_tsv(comparisons, "comparisons", "tables/comparisons.tsv"),
    }
    detail = {"per_class": build_per_class(suite, runs), "variance": build_variance(suite, runs)}
    if analyses is not None:
        detail["precision_recall"] = build_precision_recall(suite, analyses)
        detail["confusion"] = build_confusion(suite, analyses, categories(runs))
        detail["errors"] = build_errors(suite, analyses)
    return files | {f"{name}.tsv": format_tsv(rows, name, f"tables/{name}.tsv") for name, rows in detail.items()}


def write_tables(base: Path, suite: Suite, data: Path) -> list[Path]:
    """Makes `results/SUITE/tables` from the results there; the paths written.

    Args:
        data: directory of the data set, for its `val.json`.

    Raises:
        TableError, DetectionsError: a file is missing or damaged.
    """
    paths = []
    analyses = analyse_runs(base, suite, data / "val.json")
    for name, text in build_all(suite, read_runs(base, suite), read_timing(base, suite), analyses).items():
        atomic_write(base / "tables" / name, text)
        paths.append(base / "tables" / name)
    return paths


def manifest_rows(suite: Suite, runs: Sequence[Row], digests: Mapping[str, str]) -> list[dict[str, Any]]:
    """The deliverable's manifest (schema `manifest`): a row a checkpoint and row of the suite.

    Args:
        digests: SHA-256 of the results and detections files, by path relative to `results/SUITE`.
    """
    rows = []
    groups = by_row(runs)
    for row in suite.rows:
        mine = groups.get(row.exp_id, [])
        first = {run["train_seed"]: run for run in reversed(mine)}
        for seed, values in runs_of(mine, row.exp_id).items():
            run = first[seed]
            folder = f"eval/{row.experiment}/seed{seed}"
            results, detections = f"{folder}/results.tsv", f"{folder}/detections.safetensors"
            rows.append(
                {
                    "train_seed": seed,
                    "exp_id": row.exp_id,
                    "experiment": row.experiment,
                    "ckpt_path": run["ckpt_path"],
                    "ckpt_sha256": run["ckpt_sha256"],
                    "config_sha256": run["config_sha256"],
                    "results_tsv": results,
                    "results_sha256": digests.get(results, ""),
                    "detections": detections,
                    "detections_sha256": digests.get(detections, ""),
                    "sample_step": row.sample_step,
                    "n_runs": len(values),
                    "mean_AP": stats.mean(values),
                    "std_AP_pop": stats.std_pop(values),
                }
            )
    return rows


def write_manifest(base: Path, suite: Suite) -> Path:
    """Writes `results/SUITE/manifest.tsv`. Raises TableError, or DigestError for a missing file."""
    runs = read_runs(base, suite)
    digests = {}
    for experiment, seed in suite.eval_jobs:
        for name in ("results.tsv", "detections.safetensors"):
            file = f"eval/{experiment}/seed{seed}/{name}"
            digests[file] = sha256_file(base / file)
    path = base / "manifest.tsv"
    atomic_write(path, format_tsv(manifest_rows(suite, runs, digests), "manifest", "manifest.tsv"))
    return path
