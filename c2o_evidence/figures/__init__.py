"""The figures of a suite, as SVG, PNG and PDF: from its tables and curves alone.

The same rows give the same bytes: SVG ids come from a fixed salt (one a figure, so that several can be inlined in one
page), no date is written, and the order of everything is the suite's. What carries data has an id in the SVG, unique in
its figure: `run:EXP:TRAIN:EVAL` (a run), `row:EXP` (a row of the suite; with more behind it where a row has several
marks), `curve:EXP:SEED` (a training), `comparison:A:B`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.extent import DETAIL_TABLES, NOW, Extent
from c2o_evidence.figures.benchmarks import attention_cost, comparison_bars
from c2o_evidence.figures.canvas import new, panels, render, row_label
from c2o_evidence.figures.curves import ap_curves, loss_curves, match_curves
from c2o_evidence.figures.detail import (
    confusion_matrices,
    error_types,
    per_class,
    precision_recall,
    variance_split,
)
from c2o_evidence.figures.rows import ap_over_steps, speed_quality, summary_strip
from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["build_figures", "draw", "figure_names", "match_curves", "write_figures"]

Row = Mapping[str, Any]
DETAIL = ("variance_split", "per_class", "precision_recall", "confusion", "error_types")
"""Figures of DETAIL_TABLES."""


def figure_names(suite: Suite, extent: Extent = NOW) -> tuple[str, ...]:
    """Names (without suffix) of the figures of a suite."""
    speed = ("speed_quality",) if suite.timing is not None else ()
    attention = ("attention_cost",) if suite.attention is not None else ()
    if not suite.rows:
        return attention
    compared = ("comparisons",) if suite.comparisons else ()
    detail = DETAIL if extent.edition > 1 else ()
    curves = ("loss_curves", "match_curves", *(("ap_curves",) if extent.ap_curves else ()))
    return ("summary_strip", "ap_over_steps", *compared, *speed, *attention, *detail, *curves)


def build_figures(
    suite: Suite,
    runs: Sequence[Row],
    summary: Sequence[Row],
    curves: Mapping[tuple[str, int], Sequence[Row]],
    comparisons: Sequence[Row] = (),
    attention: Sequence[Row] = (),
    detail: Mapping[str, Sequence[Row]] | None = None,
) -> dict[str, bytes]:
    """All figures of a suite, by file name.

    Args:
        runs: rows of tables/runs.tsv.
        summary: rows of tables/summary.tsv.
        curves: rows of the curve TSV of each (experiment, train seed); a missing one is left out of the
        picture.
        comparisons, attention: rows of tables/comparisons.tsv and attention/attention.tsv.
        detail: rows of DETAIL_TABLES, by the table's name.
    """
    import matplotlib

    tables = dict.fromkeys(DETAIL_TABLES, ()) | dict(detail or {})
    drawers: dict[str, Callable[[], Figure]] = {
        "summary_strip": lambda: summary_strip(suite, runs, summary),
        "ap_over_steps": lambda: ap_over_steps(suite, runs, summary),
        "speed_quality": lambda: speed_quality(suite, runs, summary),
        "comparisons": lambda: _comparisons(suite, comparisons),
        "attention_cost": lambda: _attention_cost(attention),
        "variance_split": lambda: variance_split(suite, tables["variance"]),
        "per_class": lambda: per_class(suite, tables["per_class"]),
        "precision_recall": lambda: precision_recall(suite, tables["precision_recall"]),
        "confusion": lambda: confusion_matrices(suite, tables["confusion"], tables["per_class"]),
        "error_types": lambda: error_types(suite, tables["errors"]),
        "loss_curves": lambda: loss_curves(suite, curves),
        "match_curves": lambda: match_curves(suite, curves),
        "ap_curves": lambda: ap_curves(suite, curves),
    }
    files: dict[str, bytes] = {}
    measured = any("AP" in row for curve in curves.values() for row in curve)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user would give other pictures
        for name in figure_names(suite, Extent(ap_curves=measured)):
            files.update(render(drawers[name](), name))
    return files


def _comparisons(suite: Suite, comparisons: Sequence[Row]) -> Figure:
    figure, axes = new(1.0 + 0.42 * len(comparisons))
    comparison_bars(axes, comparisons, {row.exp_id: row_label(suite, row.exp_id) for row in suite.rows})
    return figure


def _attention_cost(attention: Sequence[Row]) -> Figure:
    figure, _ = panels(4.4, 0)  # it lays out its own
    attention_cost(figure, attention)
    return figure


def draw(base: Path, suite: Suite) -> dict[str, bytes]:
    """All figures of a suite, by file name, from the tables and curves below `base` (`results/SUITE` or a bundle).

    Raises TableError if a table or a curve is missing or damaged.
    """
    from c2o_evidence.tsv import read_tsv

    runs = read_tsv(base / "tables" / "runs.tsv", "results")
    summary = read_tsv(base / "tables" / "summary.tsv", "summary")
    curves = {
        (experiment, seed): read_tsv(base / "train" / experiment / f"seed{seed}" / "curve.tsv", "curve")
        for experiment, seed in suite.train_jobs
    }
    comparisons = read_tsv(base / "tables" / "comparisons.tsv", "comparisons")
    measured = base / "attention" / "attention.tsv"
    attention = read_tsv(measured, "attention") if suite.attention is not None else []
    detail = {name: read_tsv(base / "tables" / f"{name}.tsv", name) for name in DETAIL_TABLES}
    return build_figures(suite, runs, summary, curves, comparisons, attention, detail)


def write_figures(results_dir: Path, suite: Suite) -> list[Path]:
    """Makes `results/SUITE/figures` from the tables and curves there; the paths written, sorted.

    Raises TableError if a table or a curve is missing or damaged.
    """
    paths = []
    for name, data in sorted(draw(results_dir, suite).items()):
        path = results_dir / "figures" / name
        atomic_write(path, data)
        paths.append(path)
    return paths
