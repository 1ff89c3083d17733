"""Figures of the tables that look closer than AP (c2o_evidence.tables.detail)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_evidence import stats
from c2o_evidence.analysis import BACKGROUND, IOUS, KINDS, MISSED
from c2o_evidence.figures.canvas import COLOURS, legend_above, new, panels, row_label, rows_down, style_of
from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
MOST_CLASSES = 40  # with a line of their own
MOST_IN_MATRIX = 24  # classes of a confusion matrix
ON = ("white", "white", "white", "black", "black", "black")  # numbers on the first six COLOURS
NUMBERS_UP_TO = 12  # classes of a matrix whose cells have numbers too


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["exp_id"], []).append(row)
    return groups


def per_class(suite: Suite, rows: Sequence[Row]) -> Figure:
    """AP of each class, one mark a row of the suite, with its 95 % interval. Of many classes the best and the worst."""
    groups = _grouped(rows)
    names, told = _chosen(rows)
    figure, axes = new(1.3 + 0.3 * max(3, len(names)))
    place = {name: number for number, name in enumerate(names)}
    for index, row in enumerate(suite.rows):
        mine = [cell for cell in groups.get(row.exp_id, ()) if cell["category"] in place]
        shift = 0.7 * ((index + 0.5) / len(suite.rows) - 0.5)
        y = [place[cell["category"]] + shift for cell in mine]
        style = style_of(index)
        for height, cell in zip(y, mine, strict=True):
            if math.isfinite(cell["ci95_low"]) and math.isfinite(cell["ci95_high"]):
                ends = [max(0.0, cell["ci95_low"]), min(100.0, cell["ci95_high"])]
                axes.plot(ends, [height, height], color=style["color"], linewidth=0.7, alpha=0.6)
        axes.plot(
            [cell["mean_AP"] for cell in mine], y, style["marker"], color=style["color"], markersize=3.5,
            label=row_label(suite, row.exp_id), gid=f"row:{row.exp_id}",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.set_xlim(0.0, 100.0)
    axes.set_xlabel(f"AP of a class{told} (line: 95 % t interval over train seeds)", fontsize=8)
    legend_above(figure, axes, 2)
    return figure


def _chosen(rows: Sequence[Row]) -> tuple[list[str], str]:
    """Which classes are shown, in their order, and how the axis tells."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["category"], []).append(row["mean_AP"])
    if len(values) <= MOST_CLASSES:
        return list(values), ""
    means = {name: stats.mean(found) for name, found in values.items()}
    ranked = sorted((name for name in means if math.isfinite(means[name])), key=lambda name: (means[name], name))
    half = MOST_CLASSES // 2
    kept = {*ranked[:half], *ranked[-half:]}
    return [name for name in values if name in kept], f": {half} lowest and {half} highest of {len(values)}"


def precision_recall(suite: Suite, rows: Sequence[Row]) -> Figure:
    """Precision over recall, one panel an IoU, one line a row of the suite."""
    figure, axes = panels(3.6, len(IOUS))
    for iou, panel in zip(IOUS, axes, strict=True):
        groups = _grouped([row for row in rows if row["iou"] == iou])
        for index, row in enumerate(suite.rows):
            mine = groups.get(row.exp_id, [])
            x, y = [cell["recall"] for cell in mine], [cell["precision"] for cell in mine]
            panel.plot(
                x, y, linewidth=1.1, markersize=3, markevery=(index % 10, 10), label=row_label(suite, row.exp_id),
                gid=f"row:{row.exp_id}:{iou}", **style_of(index),
            )  # fmt: skip
        panel.set_xlim(0.0, 1.0)
        panel.set_ylim(0.0, 1.0)
        panel.set_xlabel(f"recall (IoU {iou})")
    axes[0].set_ylabel("precision, mean over classes")
    legend_above(figure, axes[0], 2)
    return figure


def confusion_matrices(suite: Suite, rows: Sequence[Row], per_class_rows: Sequence[Row]) -> Figure:
    """Confused classes of two rows of the suite side by side: the two of its first comparison, else first and last.

    A line of a matrix sums to 1: what the objects of a class, or the detections of nothing, are taken for. Of many
    classes those with most confusion.
    """
    shown = _compared(suite)
    groups = _grouped(rows)
    classes = list(dict.fromkeys(row["category"] for row in per_class_rows))
    names = _most_confused(classes, [row for exp_id in shown for row in groups.get(exp_id, ())])
    figure, axes = panels(1.2 + 0.19 * (len(names) + 4), len(shown))
    for exp_id, panel in zip(shown, axes, strict=True):
        _matrix(panel, names, groups.get(exp_id, []), f"confusion:{exp_id}")
        panel.set_title(row_label(suite, exp_id), fontsize=8)
    told = f"; {len(names)} of {len(classes)} classes" if len(names) < len(classes) else ""
    axes[0].set_ylabel(f"true class (IoU ≥ 0.5{told})", fontsize=8)
    return figure


def _compared(suite: Suite) -> list[str]:
    if suite.comparisons:
        return list(dict.fromkeys((suite.comparisons[0].b, suite.comparisons[0].a)))
    return list(dict.fromkeys((suite.rows[0].exp_id, suite.rows[-1].exp_id)))


def _most_confused(classes: Sequence[str], rows: Sequence[Row]) -> list[str]:
    if len(classes) <= MOST_IN_MATRIX:
        return list(classes)
    wrong = dict.fromkeys(classes, 0.0)
    for row in rows:
        if row["truth"] in wrong and row["predicted"] in wrong and row["truth"] != row["predicted"]:
            wrong[row["truth"]] += row["per_run"]
            wrong[row["predicted"]] += row["per_run"]
    kept = set(sorted(wrong, key=lambda name: (-wrong[name], name))[:MOST_IN_MATRIX])
    return [name for name in classes if name in kept]


def _matrix(axes: Axes, names: Sequence[str], rows: Sequence[Row], gid: str) -> None:
    import numpy as np

    down = {name: place for place, name in enumerate([*names, BACKGROUND])}
    across = {name: place for place, name in enumerate([*names, MISSED])}
    whole = dict.fromkeys(down, 0.0)
    share = np.zeros((len(down), len(across)))
    for row in rows:
        if row["truth"] in down:
            whole[row["truth"]] += row["per_run"]
    for row in rows:
        if row["truth"] in down and row["predicted"] in across:
            share[down[row["truth"]], across[row["predicted"]]] = row["per_run"] / whole[row["truth"]]
    # One polygon a cell: a picture inside the SVG would be compressed pixels.
    axes.pcolormesh(share, cmap="Blues", vmin=0.0, vmax=1.0, edgecolors="white", linewidth=0.4, gid=gid)
    size = 6 if len(names) <= NUMBERS_UP_TO else 5
    axes.set_xticks([place + 0.5 for place in across.values()], list(across), fontsize=size + 1, rotation=90,
                    parse_math=False)  # fmt: skip
    axes.set_yticks([place + 0.5 for place in down.values()], list(down), fontsize=size + 1, parse_math=False)
    axes.invert_yaxis()
    axes.grid(False)
    axes.set_xlabel("predicted class", fontsize=8)
    if len(names) <= NUMBERS_UP_TO:
        for (y, x), value in np.ndenumerate(share):
            if value >= 0.005:
                text = f"{value:.2f}".lstrip("0")
                axes.text(x + 0.5, y + 0.5, text, fontsize=size, ha="center", va="center",
                          color="white" if value > 0.55 else "black")  # fmt: skip


def error_types(suite: Suite, rows: Sequence[Row]) -> Figure:
    """Errors an image, one bar a row of the suite, one part a kind."""
    figure, axes = new(1.3 + 0.32 * len(suite.rows))
    cells = {(row["exp_id"], row["kind"]): row["per_image"] for row in rows}
    left = [0.0] * len(suite.rows)
    for index, kind in enumerate(KINDS):
        values = [cells.get((row.exp_id, kind), math.nan) for row in suite.rows]
        known = [value if math.isfinite(value) else 0.0 for value in values]
        _stack(axes, left, known, COLOURS[index], kind, [f"row:{r.exp_id}:{kind}" for r in suite.rows])
        for position, (start, value) in enumerate(zip(left, known, strict=True)):
            if value > 0.3:  # wide enough for its number: colour alone must not tell
                axes.text(start + value / 2, position, f"{value:.1f}", fontsize=6, ha="center", va="center",
                          color=ON[index])  # fmt: skip
        left = [a + b for a, b in zip(left, known, strict=True)]
    rows_down(axes, suite)
    axes.set_xlabel("errors an image, among as many detections as there are objects", fontsize=8)
    legend_above(figure, axes, 6)
    return figure


def variance_split(suite: Suite, rows: Sequence[Row]) -> Figure:
    """Which share of the variance of AP is between train seeds, which between eval seeds; with its square root."""
    figure, axes = new(1.3 + 0.3 * len(suite.rows))
    by_id = {row["exp_id"]: row for row in rows}
    shares = [by_id[row.exp_id]["share_train"] if row.exp_id in by_id else math.nan for row in suite.rows]
    known = [math.isfinite(share) for share in shares]
    train = [share if fine else 0.0 for share, fine in zip(shares, known, strict=True)]
    evaluated = [1.0 - share if fine else 0.0 for share, fine in zip(train, known, strict=True)]
    ids = [f"row:{row.exp_id}" for row in suite.rows]
    _stack(axes, [0.0] * len(train), train, COLOURS[0], "train seeds", [f"{gid}:train" for gid in ids])
    _stack(axes, train, evaluated, COLOURS[4], "eval seeds", [f"{gid}:eval" for gid in ids])
    for position, (row, fine) in enumerate(zip(suite.rows, known, strict=True)):
        if fine:
            spread = math.sqrt(by_id[row.exp_id]["var_train"] + by_id[row.exp_id]["var_eval"])
            axes.text(1.02, position, f"σ = {spread:.2f}", fontsize=7, va="center")
        else:
            axes.text(0.02, position, "not defined for these seeds", fontsize=7, va="center")
    rows_down(axes, suite)
    axes.set_xlim(0.0, 1.15)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("share of the variance of AP (σ: square root of the whole)", fontsize=8)
    legend_above(figure, axes, 2)
    return figure


def _stack(
    axes: Axes,
    left: Sequence[float],
    width: Sequence[float],
    colour: str,
    label: str,
    ids: Sequence[str],
) -> None:
    """One part of each of several horizontal bars."""
    bars = axes.barh(
        range(len(width)), width, left=left, height=0.7, color=colour, label=label, edgecolor="white",
        linewidth=0.5,
    )  # fmt: skip
    for bar, gid in zip(bars, ids, strict=True):
        bar.set_gid(gid)
