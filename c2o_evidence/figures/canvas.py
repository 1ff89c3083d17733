"""What all figures share: size, colours, axes, and how they become files.

A figure is as wide as a page of text; letters have 6 points or more at that width.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_evidence.suite import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
# Okabe and Ito (2008): eight colours that colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^v<>P"
WIDTH_IN = 7.0


def style_of(index: int) -> dict[str, Any]:
    """Colour, line and marker of the row or experiment `index`: no two of 32 look alike, in grey print neither."""
    turn, place = divmod(index, len(COLOURS))
    return {
        "color": COLOURS[place],
        "linestyle": LINES[(place + turn) % len(LINES)],
        "marker": MARKERS[(place + turn) % len(MARKERS)],
    }


def new(height_in: float) -> tuple[Figure, Axes]:
    """A figure with one panel."""
    figure, (axes,) = panels(height_in, 1)
    return figure, axes


def panels(height_in: float, count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels side by side."""
    # Figure, not pyplot: no global state, no display, nothing to close.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    made = [figure.add_subplot(1, count, number) for number in range(1, count + 1)]
    for axes in made:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, made


def ap_limits(values: Sequence[float]) -> tuple[float, float] | None:
    """Where an AP axis begins and ends: around the runs, so intervals of few seeds may leave the picture."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    pad = max(1.0, 0.3 * (max(finite) - min(finite)))
    return max(0.0, min(finite) - pad), min(100.0, max(finite) + pad)


def plain_ticks(axis: Axis) -> None:
    """Log ticks as plain numbers, 20 and not 2 x 10^1."""
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_tick_params(which="minor", bottom=False, left=False, labelbottom=False, labelleft=False)


def row_label(suite: Suite, exp_id: str) -> str:
    """A row of the suite as its table prints it."""
    row = suite.row(exp_id)
    return (row.label or exp_id) + (" † selected" if row.selected else "")


def rows_down(axes: Axes, suite: Suite) -> None:
    """The rows of the suite as labels of the vertical axis, the first on top."""
    axes.set_yticks(range(len(suite.rows)), [row_label(suite, row.exp_id) for row in suite.rows], fontsize=8)
    axes.set_ylim(len(suite.rows) - 0.5, -0.5)


def legend_above(figure: Figure, axes: Axes, columns: int) -> None:
    """A legend above the panels, if there is anything in it."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, fontsize=7, frameon=False, ncols=columns, loc="outside upper center")


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
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: it is half of the time of a figure
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return {f"{name}.svg": svg.getvalue(), f"{name}.png": png.getvalue(), f"{name}.pdf": pdf.getvalue()}
