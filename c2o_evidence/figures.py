"""The figures of a suite: runs a row, AP over steps, comparisons, speed, attention, training curves; as SVG, PNG, PDF.

The same rows give the same bytes: SVG ids come from a fixed salt (one a figure, so that several can be
inlined in one page), no date is written, and the order of everything is the suite's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.bench_figures import attention_cost, comparison_bars
from c2o_evidence.extent import Extent
from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours that colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
WIDTH_IN = 7.0
Row = Mapping[str, Any]
NOW = Extent()


def figure_names(suite: Suite, extent: Extent = NOW) -> tuple[str, ...]:
    """Names (without suffix) of the figures of a suite."""
    speed = ("speed_quality",) if suite.timing is not None else ()
    attention = ("attention_cost",) if suite.attention is not None else ()
    if not suite.rows:
        return attention
    compared = ("comparisons",) if suite.comparisons else ()
    return ("summary_strip", "ap_over_steps", *compared, *speed, *attention, "loss_curves", "match_curves")


def _new(height_in: float) -> tuple[Figure, Axes]:
    figure, (axes,) = _panels(height_in, 1)
    return figure, axes


def _panels(height_in: float, count: int) -> tuple[Figure, list[Axes]]:
    # Figure, not pyplot: no global state, no display, nothing to close.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(1, count, number) for number in range(1, count + 1)]
    for axes in panels:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def _limits(values: Sequence[float]) -> tuple[float, float] | None:
    """Where an AP axis begins and ends: around the runs, so intervals of few seeds may leave the picture."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    pad = max(1.0, 0.3 * (max(finite) - min(finite)))
    return max(0.0, min(finite) - pad), min(100.0, max(finite) + pad)


def _plain_ticks(axis: Axis) -> None:
    """Log ticks as plain numbers, 20 and not 2 x 10^1."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_tick_params(which="minor", bottom=False, left=False, labelbottom=False, labelleft=False)


def _label(suite: Suite, exp_id: str) -> str:
    row = suite.row(exp_id)
    return (row.label or exp_id) + (" † selected" if row.selected else "")


def summary_strip(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """One line a row of the suite: every run a dot (colour: train seed), the mean a tick with its 95 %
    interval.
    """
    figure, axes = _new(1.2 + 0.34 * len(suite.rows))
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
            axes.plot([run["AP"]], [position + offset], "o", color=colour, markersize=3.2, alpha=0.75, label=name)
        numbers = by_id.get(row.exp_id)
        if numbers is not None:
            low, high = numbers["ci95_low"], numbers["ci95_high"]
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([low, high], [position, position], color="black", linewidth=1.2)
            axes.plot([numbers["mean_AP"]], [position], "|", color="black", markersize=14, markeredgewidth=1.8)
    axes.set_yticks(range(len(suite.rows)), [_label(suite, row.exp_id) for row in suite.rows])
    axes.set_ylim(len(suite.rows) - 0.5, -0.5)
    axes.set_xlim(_limits([run["AP"] for run in runs]))
    axes.set_xlabel("AP (line: 95 % t interval over train seeds)", fontsize=8)
    if labelled:
        figure.legend(fontsize=7, frameon=False, ncols=min(5, len(labelled)), loc="outside upper center")
    return figure


def _with_interval(axes: Axes, x: float, row: Row, colour: str) -> None:
    low, high = row["ci95_low"], row["ci95_high"]
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([x, x], [low, high], color=colour, linewidth=1.2, alpha=0.7)
    axes.plot([x], [row["mean_AP"]], "o", color=colour, markersize=5)


def ap_over_steps(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """Mean AP over the number of sampling steps, one line an experiment."""
    figure, axes = _new(3.2)
    by_id = {row["exp_id"]: row for row in summary}
    for index, experiment in enumerate(suite.evaluated):
        colour = COLOURS[index % len(COLOURS)]
        # A row with test-time options is another sampler, not another number of steps.
        plain = [row for row in suite.rows_of(experiment) if not row.opts and row.exp_id in by_id]
        points = sorted((row.sample_step, by_id[row.exp_id]["mean_AP"], row.exp_id) for row in plain)
        axes.plot([p[0] for p in points], [p[1] for p in points], "-", color=colour, linewidth=1.2, label=experiment)
        for step, _, exp_id in points:
            _with_interval(axes, step, by_id[exp_id], colour)
    steps = sorted({row.sample_step for row in suite.rows})
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    axes.set_ylim(_limits([run["AP"] for run in runs]))
    axes.set_xlabel("sampling steps")
    axes.set_ylabel("mean AP")
    axes.legend(fontsize=7, frameon=False)
    return figure


def speed_quality(suite: Suite, runs: Sequence[Row], summary: Sequence[Row]) -> Figure:
    """Mean AP against milliseconds an image, one point a row that was timed."""
    figure, axes = _new(3.4)
    hardware = sorted({row["hardware_id"] for row in summary if row["hardware_id"]})
    for index, row in enumerate(summary):
        seconds = row["inference_s_per_img"]
        if math.isfinite(seconds):
            colour = COLOURS[index % len(COLOURS)]
            _with_interval(axes, 1000 * seconds, row, colour)
            axes.plot([], [], "o", color=colour, label=_label(suite, row["exp_id"]))
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_ylim(_limits([run["AP"] for run in runs]))
    axes.set_xlabel(f"ms an image (hardware {', '.join(hardware) or 'not timed'})")
    axes.set_ylabel("mean AP")
    if hardware:
        axes.legend(fontsize=7, frameon=False)
    return figure


def loss_curves(suite: Suite, curves: Mapping[tuple[str, int], Sequence[Row]]) -> Figure:
    """Training loss over iterations, one line a training, one colour an experiment."""
    figure, axes = _new(3.2)
    _draw_curves(axes, suite, curves, "loss")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_ylabel("training loss")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7, frameon=False)
    return figure


def match_curves(suite: Suite, curves: Mapping[tuple[str, int], Sequence[Row]]) -> Figure:
    """Class accuracy and L1 of the matched nodes over iterations, as loss_curves. A training without them (a backbone
    is pretrained without matches) is left out.
    """
    figure, (accuracy, l1) = _panels(3.2, 2)
    _draw_curves(accuracy, suite, curves, "class_accuracy")
    accuracy.set_ylim(0.0, 1.0)
    accuracy.set_ylabel("class accuracy of matched nodes")
    _draw_curves(l1, suite, curves, "l1")
    l1.set_ylabel("L1 of matched nodes (image size 1)")
    l1.set_ylim(bottom=0.0)
    if accuracy.get_legend_handles_labels()[1]:
        accuracy.legend(fontsize=7, frameon=False)
    return figure


def _draw_curves(axes: Axes, suite: Suite, curves: Mapping[tuple[str, int], Sequence[Row]], column: str) -> None:
    """One column over iterations for every training that has it."""
    for index, experiment in enumerate(suite.needed):
        label: str | None = experiment
        for seed in suite.seeds_of(experiment):
            curve = [row for row in curves.get((experiment, seed), ()) if column in row]
            if curve:
                x, y = [row["iteration"] for row in curve], [row[column] for row in curve]
                dot = "." if len(x) == 1 else ""  # one point makes no line
                axes.plot(x, y, dot + "-", color=COLOURS[index % len(COLOURS)], linewidth=0.8, alpha=0.7, label=label)
                label = None
    axes.set_xlabel("iteration")


def render(figure: Figure, name: str) -> dict[str, bytes]:
    """`{NAME.svg: …, NAME.png: …, NAME.pdf: …}` without dates, with SVG ids that are the figure's own."""
    import matplotlib

    svg, png, pdf = io.BytesIO(), io.BytesIO(), io.BytesIO()
    # Text stays text: smaller, selectable, and no glyph outlines that depend on the font library's version.
    # In PDF, TrueType as publishers ask for, and no compression, so that the bytes do not depend on zlib's build.
    with matplotlib.rc_context(
        {
            "svg.hashsalt": f"c2o-{name}",
            "svg.fonttype": "none",
            "font.family": "DejaVu Sans",
            "pdf.fonttype": 42,
            "pdf.compression": 0,
        }
    ):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return {f"{name}.svg": svg.getvalue(), f"{name}.png": png.getvalue(), f"{name}.pdf": pdf.getvalue()}


def build_figures(
    suite: Suite,
    runs: Sequence[Row],
    summary: Sequence[Row],
    curves: Mapping[tuple[str, int], Sequence[Row]],
    comparisons: Sequence[Row] = (),
    attention: Sequence[Row] = (),
) -> dict[str, bytes]:
    """All figures of a suite, by file name.

    Args:
        runs: rows of tables/runs.tsv.
        summary: rows of tables/summary.tsv.
        curves: rows of the curve TSV of each (experiment, train seed); a missing one is left out of the
        picture.
        comparisons, attention: rows of tables/comparisons.tsv and attention/attention.tsv.
    """
    import matplotlib

    files: dict[str, bytes] = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user would give other pictures
        for name in figure_names(suite):
            if name == "summary_strip":
                figure = summary_strip(suite, runs, summary)
            elif name == "ap_over_steps":
                figure = ap_over_steps(suite, runs, summary)
            elif name == "speed_quality":
                figure = speed_quality(suite, runs, summary)
            elif name == "comparisons":
                figure, axes = _new(1.0 + 0.42 * len(comparisons))
                labels = {row.exp_id: _label(suite, row.exp_id) for row in suite.rows}
                comparison_bars(axes, comparisons, labels, COLOURS)
            elif name == "attention_cost":
                figure, _ = _panels(4.4, 0)  # it lays out its own
                attention_cost(figure, attention, COLOURS)
            elif name == "loss_curves":
                figure = loss_curves(suite, curves)
            else:
                figure = match_curves(suite, curves)
            files.update(render(figure, name))
    return files


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
    return build_figures(suite, runs, summary, curves, comparisons, attention)


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
