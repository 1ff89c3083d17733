"""Figures of what is compared and benchmarked: differences of AP with their intervals, attention time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
MARKERS = "osD^v<>P"


def comparison_bars(
    figure: Figure, axes: Axes, comparisons: Sequence[Row], labels: Mapping[str, str], colours: Sequence[str]
) -> None:
    """One bar a comparison: the mean difference of AP paired over train seeds, with its 95 % interval.

    Coloured where the interval leaves out 0, grey where it does not.
    """
    for position, row in enumerate(comparisons):
        decided = row["holds"] in ("yes", "no")
        colour = (colours[0] if row["mean_diff"] > 0 else colours[1]) if decided else "#999999"
        if math.isfinite(row["mean_diff"]):
            axes.barh([position], [row["mean_diff"]], height=0.6, color=colour)
        if math.isfinite(row["ci95_low"]):
            axes.plot([row["ci95_low"], row["ci95_high"]], [position, position], color="black", linewidth=1.2)
    axes.axvline(0.0, color="black", linewidth=0.8)
    names = [f"{labels[row['a']]}\n− {labels[row['b']]}" for row in comparisons]
    axes.set_yticks(range(len(comparisons)), names, fontsize=7)
    axes.set_ylim(max(len(comparisons), 1) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=7)
    axes.set_xlabel("difference of mean AP (line: 95 % t interval, paired over train seeds)", fontsize=8)


def attention_cost(figure: Figure, axes: Axes, rows: Sequence[Row], colours: Sequence[str]) -> None:
    """Seconds a call and peak memory over the number of nodes, one line a kernel and bias; both axes logarithmic.

    `axes` gets the time; the memory is drawn beside it.
    """
    grid = figure.add_gridspec(1, 2)
    axes.set_subplotspec(grid[0, 0])
    beside = figure.add_subplot(grid[0, 1])
    for side in ("top", "right"):
        beside.spines[side].set_visible(False)
    beside.grid(True, color="#dddddd", linewidth=0.6)
    kernels = list(dict.fromkeys((row["impl"], row["backend"]) for row in rows))
    biases = list(dict.fromkeys(row["bias"] for row in rows))
    for index, (impl, backend) in enumerate(kernels):
        for number, bias in enumerate(biases):
            own = [r for r in rows if (r["impl"], r["backend"], r["bias"], r["status"]) == (impl, backend, bias, "ok")]
            own.sort(key=lambda row: (row["nodes"], row["batch"], row["dtype"]))
            if not own:
                continue  # this kernel does not run here: the table says why
            style: dict[str, Any] = {
                "color": colours[index % len(colours)],
                "linestyle": ("-", "--", ":", "-.")[number % 4],
                "marker": MARKERS[index % len(MARKERS)],
                "markersize": 3.5,
                "linewidth": 1.1,
            }
            name = impl if backend in ("-", "auto") else f"{impl} {backend}"
            axes.plot(
                [row["nodes"] for row in own],
                [1000 * row["time_s"] for row in own],
                label=f"{name}, bias {bias}",
                **style,
            )
            known = [row for row in own if row["peak_bytes"]]
            beside.plot([row["nodes"] for row in known], [row["peak_bytes"] / 2**20 for row in known], **style)
    nodes = sorted({row["nodes"] for row in rows})
    for each, what in ((axes, "ms a call"), (beside, "peak memory of a call, MiB")):
        each.set_xscale("log")
        each.set_yscale("log")
        each.set_xticks(nodes, [str(count) for count in nodes], fontsize=7)
        each.set_xticks([], minor=True)
        each.set_xlabel("nodes N")
        each.set_ylabel(what)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(fontsize=6.5, frameon=False, ncols=3, loc="outside upper center")
