"""Figures of what is compared and benchmarked: differences of AP with their intervals, attention time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_evidence.figures.canvas import COLOURS, MARKERS, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


def comparison_bars(axes: Axes, comparisons: Sequence[Row], labels: Mapping[str, str]) -> None:
    """One bar a comparison: the mean difference of AP paired over train seeds, with its 95 % interval.

    Coloured where the interval leaves out 0, grey where it does not.
    """
    for position, row in enumerate(comparisons):
        decided = row["holds"] in ("yes", "no")
        colour = (COLOURS[0] if row["mean_diff"] > 0 else COLOURS[1]) if decided else "#999999"
        if math.isfinite(row["mean_diff"]):
            axes.barh([position], [row["mean_diff"]], height=0.6, color=colour, gid=f"comparison:{row['a']}:{row['b']}")
        if math.isfinite(row["ci95_low"]):
            axes.plot([row["ci95_low"], row["ci95_high"]], [position, position], color="black", linewidth=1.2)
    axes.axvline(0.0, color="black", linewidth=0.8)
    names = [f"{labels[row['a']]}\n− {labels[row['b']]}" for row in comparisons]
    axes.set_yticks(range(len(comparisons)), names, fontsize=7)
    axes.set_ylim(max(len(comparisons), 1) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=7)
    axes.set_xlabel("difference of mean AP (line: 95 % t interval, paired over train seeds)", fontsize=8)


def attention_cost(figure: Figure, rows: Sequence[Row]) -> None:
    """Time (above) and peak memory (below) of a call over the number of nodes: a column a bias, a line a kernel.

    All axes are logarithmic, each row of panels has one scale. A kernel that does not run here is left out: the table
    says why. `figure` has no axes yet.
    """
    kernels = list(dict.fromkeys((row["impl"], row["backend"]) for row in rows))
    biases = list(dict.fromkeys(row["bias"] for row in rows)) or ["none"]
    nodes = sorted({row["nodes"] for row in rows})
    panels = figure.subplots(2, len(biases), sharex=True, sharey="row", squeeze=False)
    for column, bias in enumerate(biases):
        above, below = panels[0][column], panels[1][column]
        for index, (impl, backend) in enumerate(kernels):
            own = [r for r in rows if (r["impl"], r["backend"], r["bias"], r["status"]) == (impl, backend, bias, "ok")]
            own.sort(key=lambda row: (row["dtype"], row["nodes"], row["batch"]))
            style: dict[str, Any] = {
                "color": COLOURS[index % len(COLOURS)],
                "marker": MARKERS[index % len(MARKERS)],
                "markersize": 3,
                "linewidth": 1.0,
                "label": impl if backend in ("-", "auto") else f"{impl} {backend}",
            }
            if own:
                above.plot([row["nodes"] for row in own], [1000 * row["time_s"] for row in own], **style)
            known = [row for row in own if row["peak_bytes"]]
            if known:
                below.plot([row["nodes"] for row in known], [row["peak_bytes"] / 2**20 for row in known], **style)
        above.set_title(f"bias {bias}", fontsize=8)
        below.set_xlabel("nodes N", fontsize=8)
        for panel in (above, below):
            panel.set_xscale("log")
            panel.set_yscale("log")
            plain_ticks(panel.yaxis)
            panel.set_xticks(nodes, [str(count) for count in nodes], fontsize=6, rotation=90)
            panel.set_xticks([], minor=True)
            panel.tick_params(axis="y", labelsize=7)
            panel.grid(True, color="#dddddd", linewidth=0.6)
    panels[0][0].set_ylabel("ms a call", fontsize=8)
    panels[1][0].set_ylabel("peak memory, MiB", fontsize=8)
    shown = {text: line for panel in panels[0] for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    if shown:
        figure.legend(shown.values(), shown.keys(), fontsize=7, frameon=False, ncols=5, loc="outside upper center")
