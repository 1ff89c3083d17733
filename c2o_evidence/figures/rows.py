"""Figures of the rows of a suite: every run, AP over steps, AP over speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_evidence.figures.canvas import (
    COLOURS,
    ap_limits,
    legend_above,
    new,
    plain_ticks,
    row_label,
    rows_down,
    style_of,
)
from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


def summary_strip(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """One line a row of the suite: every run a dot (colour: train seed), the mean a tick with its 95 %
    interval.
    """
    figure, axes = new(1.2 + 0.34 * len(suite.rows))
    by_id = {row["exp_id"]: row for row in summary}
    seeds = sorted({run["train_seed"] for run in runs})
    labelled: set[int] = set()
    for position, row in enumerate(suite.rows):
        for run in (run for run in runs if run["exp_name"] == row.exp_id):
            rank = seeds.index(run["train_seed"])
            colour = COLOURS[rank % len(COLOURS)]
            name = f"train seed {run['train_seed']}" if rank not in labelled else None
            labelled.add(rank)
            offset = 0.3 * (rank / max(1, len(seeds) - 1) - 0.5) if len(seeds) > 1 else 0.0
            axes.plot([run["AP"]], [position + offset], "o", color=colour, markersize=3.2, alpha=0.75, label=name,
                      gid=f"run:{row.exp_id}:{run['train_seed']}:{run['eval_seed']}")  # fmt: skip
        numbers = by_id.get(row.exp_id)
        if numbers is not None:
            low, high = numbers["ci95_low"], numbers["ci95_high"]
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([low, high], [position, position], color="black", linewidth=1.2)
            axes.plot([numbers["mean_AP"]], [position], "|", color="black", markersize=14, markeredgewidth=1.8,
                      gid=f"row:{row.exp_id}")  # fmt: skip
    rows_down(axes, suite)
    axes.set_xlim(ap_limits([run["AP"] for run in runs]))
    axes.set_xlabel("AP (line: 95 % t interval over train seeds)", fontsize=8)
    legend_above(figure, axes, min(5, max(1, len(labelled))))
    return figure


def _with_interval(axes: Axes, x: float, row: Row, colour: str, marker: str) -> None:
    low, high = row["ci95_low"], row["ci95_high"]
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([x, x], [low, high], color=colour, linewidth=1.2, alpha=0.7)
    axes.plot([x], [row["mean_AP"]], marker, color=colour, markersize=5, gid=f"row:{row['exp_id']}")


def ap_over_steps(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """Mean AP over the number of sampling steps, one line an experiment."""
    figure, axes = new(3.2)
    by_id = {row["exp_id"]: row for row in summary}
    for index, experiment in enumerate(suite.evaluated):
        style = style_of(index)
        # A row with test-time options is another sampler, not another number of steps.
        plain = [row for row in suite.rows_of(experiment) if not row.opts and row.exp_id in by_id]
        points = sorted((row.sample_step, by_id[row.exp_id]["mean_AP"], row.exp_id) for row in plain)
        axes.plot(
            [p[0] for p in points], [p[1] for p in points], linewidth=1.2, markersize=5, label=experiment, **style
        )
        for step, _, exp_id in points:
            _with_interval(axes, step, by_id[exp_id], style["color"], style["marker"])
    steps = sorted({row.sample_step for row in suite.rows})
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    axes.set_ylim(ap_limits([run["AP"] for run in runs]))
    axes.set_xlabel("sampling steps")
    axes.set_ylabel("mean AP")
    axes.legend(fontsize=7, frameon=False)
    return figure


def speed_quality(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """Mean AP over images a second, one point a row that was timed, with its number of sampling steps."""
    figure, axes = new(3.4)
    hardware = sorted({row["hardware_id"] for row in summary if row["hardware_id"]})
    for index, row in enumerate(summary):
        fps = row["inference_fps"]
        if math.isfinite(fps):
            colour, marker = style_of(index)["color"], style_of(index)["marker"]
            _with_interval(axes, fps, row, colour, marker)
            place = (fps, row["mean_AP"])
            axes.annotate(str(row["sample_step"]), place, xytext=(5, 3), textcoords="offset points", fontsize=7)
            axes.plot([], [], marker, color=colour, label=row_label(suite, row["exp_id"]))
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_ylim(ap_limits([run["AP"] for run in runs]))
    axes.set_xlabel(f"images a second (hardware {', '.join(hardware) or 'not timed'})")
    axes.set_ylabel("mean AP")
    if hardware:
        axes.legend(fontsize=7, frameon=False)
    return figure
