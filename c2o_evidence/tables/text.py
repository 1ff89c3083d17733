"""The tables as a reader sees them: Markdown and LaTeX (booktabs), rounded from the TSVs' full precision."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from c2o_evidence import stats
from c2o_evidence.metrics import OF_SOME_SETS
from c2o_evidence.tables.compare import verdict

Row = Mapping[str, Any]
NOTHING = "–"
SELECTED = "†"

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^\dagger$",
    ">": "$>$",
    "<": "$<$",
} | {character: f"\\{character}" for character in "&%$#_{}"}

# `<` before what makes it a tag, `](` of a link or picture; what has a backslash before it already gets another one.
_MARKUP = re.compile(r"\||\\(?=[|<\]\\])|<(?=[A-Za-z/!?])|\](?=\()")


def number(value: float | None, digits: int = 2) -> str:
    """A rounded number; a dash where it is undefined."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """A rounded number with its sign; a dash where it is undefined."""
    return NOTHING if math.isnan(value) else f"{value:+.{digits}f}"


def with_deviation(row: Row) -> str:
    """`46.43 ± 0.78`: mean and population deviation over all runs."""
    return f"{number(row['mean_AP'])} ± {number(row['std_AP_pop'])}"


def interval(row: Row) -> str:
    """`45.9 to 47.0`: the 95 % interval; a dash where there is none."""
    if math.isnan(row["ci95_low"]) or math.isnan(row["ci95_high"]):
        return NOTHING
    return f"{number(row['ci95_low'])} to {number(row['ci95_high'])}"


def p_value(value: float) -> str:
    """Three digits, `< 0.001` below."""
    return NOTHING if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def speedup(row: Row) -> str:
    """`5.1×`; a dash where none is asked for."""
    return NOTHING if math.isnan(row["speedup"]) else f"{row['speedup']:.1f}×"


def marked(row: Row, text: str) -> str:
    """`text` with a mark where the row was selected by its results."""
    return f"{text} {SELECTED}" if row.get("selected") else text


def selection_notes(rows: Sequence[Row]) -> list[str]:
    """What the mark means, a sentence a selection."""
    told = [f"{SELECTED} Selected: {row['selected']}. Its AP is that of the best choice, so too high." for row in rows
            if row.get("selected")]  # fmt: skip
    return list(dict.fromkeys(told))


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table whose first `left` columns are text, the others numbers."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(markdown_escape(cell) for cell in cells) + " |\n"

    rule = "|" + "|".join(["---"] * left + ["---:"] * (len(header) - left)) + "|\n"
    return line(header) + rule + "".join(line(row) for row in rows)


def markdown_escape(text: str) -> str:
    """Text as a cell of a Markdown table: no column ends in it, no tag or link begins."""
    return _MARKUP.sub(r"\\\g<0>", text)


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], left: int, notes: Sequence[str] = ()) -> str:
    def line(cells: Sequence[str]) -> str:
        text = " & ".join(latex_escape(cell) for cell in cells) + r" \\" + "\n"
        # Behind the `\\` of the line above, these would be its options.
        return "{}" + text if text.startswith(("[", "*")) else text

    columns = "l" * left + "r" * (len(header) - left)
    body = line(header) + "\\midrule\n" + "".join(line(row) for row in rows)
    foot = "".join(f"\\multicolumn{{{len(header)}}}{{l}}{{\\footnotesize {latex_escape(n)}}} \\\\\n" for n in notes)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\\bottomrule\n{foot}\\end{{tabular}}\n"


def latex_escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)


SUMMARY_HEADER = (
    "setting",
    "steps",
    "runs",
    "AP",
    "95 % interval",
    "AP50",
    "AP75",
    "ms/image",
    "FPS",
    "speed-up",
)


def _summary_cells(row: Row) -> list[str]:
    seconds = row["inference_s_per_img"]
    return [
        marked(row, row["label"]),
        str(row["sample_step"]),
        str(row["n_runs"]),
        with_deviation(row),
        interval(row),
        number(row["mean_AP50"]),
        number(row["mean_AP75"]),
        number(seconds * 1000, 1),
        number(row["inference_fps"], 1),
        speedup(row),
        *(number(row[f"mean_{name}"]) for name in OF_SOME_SETS if f"mean_{name}" in row),
    ]


def _summary_header(summary: Sequence[Row]) -> tuple[str, ...]:
    """The columns, with those that only some sets have where this one has them."""
    more = [heading for name, heading in OF_SOME_SETS.items() if summary and f"mean_{name}" in summary[0]]
    return (*SUMMARY_HEADER, *more)


def hardware_note(summary: Sequence[Row], timing: Sequence[Row]) -> str:
    """On what the times were measured; says so where rows were timed on different hardware."""
    ids = sorted({row["hardware_id"] for row in summary if row["hardware_id"]})
    names = {row["hardware_id"]: row["hardware"] for row in timing}
    if not ids:
        return ""
    known = "; ".join(f"{names.get(key, 'unknown')} (hardware {key})" for key in ids)
    warning = ". These differ: do not compare their times" if len(ids) > 1 else ""
    return f"Times: {known}{warning}."


def _comparison_cells(row: Row, selected: Container[str] = ()) -> list[str]:
    a, b = (f"{name} {SELECTED}" if name in selected else name for name in (row["a"], row["b"]))
    return [
        row["claim"] or f"{row['a']} > {row['b']}",
        f"{a} − {b}",
        verdict(row),
        signed(row["mean_diff"]),
        f"{signed(row['ci95_low'])} to {signed(row['ci95_high'])}",
        p_value(row["p_value"]),
        str(row["n_pairs"]),
    ]


def _refusals(summary: Sequence[Row]) -> str:
    """Why a row has no interval or no split of its spread, a line a row: a dash alone would not tell."""
    lines = []
    for row in summary:
        seeds, runs = row["n_train_seeds"], row["n_runs"]
        if not runs:
            continue
        sizes = [runs // seeds] * seeds
        reasons = [stats.refuse_interval(seeds), stats.refuse_split(sizes)]
        lines += [f"{row['label']}: {'; '.join(told)}.\n"] if (told := [text for text in reasons if text]) else []
    return "".join(lines)


def summary_markdown(title: str, summary: Sequence[Row], comparisons: Sequence[Row], timing: Sequence[Row]) -> str:
    """The summary with its comparisons, and what the columns mean."""
    text = f"# {markdown_escape(title)}\n\n" + _markdown(
        _summary_header(summary), [_summary_cells(row) for row in summary], 1
    )
    text += "\nAP: mean over all runs ± population standard deviation, scale 0-100. "
    text += "95 % interval: Student t over train seeds (mean over eval seeds each).\n"
    note = hardware_note(summary, timing)
    text += f"{note}\n" if note else ""
    text += "".join(f"{row['label']}: {row['notes']}.\n" for row in summary if row["notes"])
    text += "".join(f"{note}\n" for note in selection_notes(summary))
    text += _refusals(summary)
    text += "\n## Where the spread comes from\n\n"
    spread = [
        [
            marked(row, row["label"]),
            number(row["std_between_train"]),
            number(row["std_within_eval"]),
            number(row["std_AP_sample"]),
        ]
        for row in summary
    ]
    text += _markdown(("setting", "between train seeds", "between eval seeds", "sample deviation"), spread, 1)
    if comparisons:
        header = ("claim", "difference", "verdict", "AP", "95 % interval", "p", "pairs")
        text += "\n## Comparisons, paired over train seeds\n\n"
        selected = {row["exp_id"] for row in summary if row.get("selected")}
        text += _markdown(header, [_comparison_cells(row, selected) for row in comparisons], 3)
        notes = sorted({row["refused"] for row in comparisons if row["refused"]})
        text += "".join(f"\n{note}.\n" for note in notes)
    return text


def summary_latex(summary: Sequence[Row]) -> str:
    """The summary as a `tabular`; needs the package booktabs."""
    cells = [_summary_cells(row) for row in summary]
    return _latex(_summary_header(summary), cells, 1, selection_notes(summary))


MAIN_HEADER = (
    "method",
    "type",
    "backbone",
    "epochs",
    "notes",
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "FPS",
)


def _main_cells(row: Row) -> list[str]:
    texts = [marked(row, row["method"]), row["type"], row["backbone"], row["epochs"], row["notes"] or ""]
    sizes = [number(row[f"mean_{metric}"]) for metric in ("AP50", "AP75", "APs", "APm", "APl")]
    return [*texts, with_deviation(row), *sizes, number(row["inference_fps"], 1)]


def main_markdown(title: str, rows: Sequence[Row]) -> str:
    """The main table."""
    table = _markdown(MAIN_HEADER, [_main_cells(row) for row in rows], 5)
    notes = ["AP: mean over all runs ± population standard deviation, scale 0-100.", *selection_notes(rows)]
    return f"# {markdown_escape(title)}: main results\n\n{table}\n" + "".join(f"{note}\n" for note in notes)


def main_latex(rows: Sequence[Row]) -> str:
    """The main table as a `tabular`; needs the package booktabs."""
    return _latex(MAIN_HEADER, [_main_cells(row) for row in rows], 5, selection_notes(rows))
