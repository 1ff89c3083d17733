"""Figures of the trainings: loss, matches and AP over iterations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_evidence.figures.canvas import legend_above, new, panels, plain_ticks, style_of
from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Curves = Mapping[tuple[str, int], Sequence[Row]]


def loss_curves(suite: Suite, curves: Curves) -> Figure:
    """Training loss over iterations, one line a training, one colour an experiment."""
    figure, axes = new(3.2)
    _draw_curves(axes, suite, curves, "loss")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_ylabel("training loss")
    legend_above(figure, axes, 4)
    return figure


def match_curves(suite: Suite, curves: Curves) -> Figure:
    """Class accuracy and L1 of the matched nodes over iterations, as loss_curves. A training without them (a backbone
    is pretrained without matches) is left out.
    """
    figure, (accuracy, l1) = panels(3.2, 2)
    _draw_curves(accuracy, suite, curves, "class_accuracy", ":class_accuracy")
    accuracy.set_ylim(0.0, 1.0)
    accuracy.set_ylabel("class accuracy of matched nodes")
    _draw_curves(l1, suite, curves, "l1", ":l1")
    l1.set_ylabel("L1 of matched nodes (image size 1)")
    l1.set_ylim(bottom=0.0)
    legend_above(figure, accuracy, 4)
    return figure


def ap_curves(suite: Suite, curves: Curves) -> Figure:
    """AP over iterations of the trainings that were evaluated on their way, as loss_curves.

    At 1 step and one eval seed, on the first TEST.EVAL_IMAGES images of val, so no number of the tables.
    """
    figure, axes = new(3.2)
    _draw_curves(axes, suite, curves, "AP", marker="o")
    axes.set_ylabel("AP on the way (1 step, TEST.EVAL_IMAGES)")
    legend_above(figure, axes, 4)
    return figure


def _draw_curves(axes: Axes, suite: Suite, curves: Curves, column: str, suffix: str = "", marker: str = "") -> None:
    """One column over iterations for every training that has it. `suffix`: behind the ids of the lines."""
    for index, experiment in enumerate(suite.needed):
        label: str | None = experiment
        for seed in suite.seeds_of(experiment):
            curve = [row for row in curves.get((experiment, seed), ()) if math.isfinite(row.get(column, math.nan))]
            if curve:
                x, y = [row["iteration"] for row in curve], [row[column] for row in curve]
                style = style_of(index) | {"marker": marker or ("." if len(x) == 1 else "")}  # one point makes no line
                gid = f"curve:{experiment}:{seed}{suffix}"
                axes.plot(x, y, linewidth=0.9, markersize=3, alpha=0.8, label=label, gid=gid, **style)
                label = None
    axes.set_xlabel("iteration")
