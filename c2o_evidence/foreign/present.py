"""What `c2o stats` prints: a table on a terminal, plain text in a pipe, Markdown, or JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from c2o_evidence.tables.text import NOTHING, p_value

Table = tuple[str, list[str], list[list[str]]]  # title, header, rows; the first column is text

HEADER = ("setting", "steps", "runs", "train seeds", "eval seeds", "mean", "std (pop)", "std (sample)", "95 % interval")
SPLIT = ("between train", "between eval")

_SPECIAL = re.compile(r"([\\`*\[\]<>|~&#$!^]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def escape_markdown(text: str) -> str:
    """Foreign text as a Markdown cell: nothing in it is markup, and it does not begin like a formula.

    >>> escape_markdown("=1+1|<b>a_b</b>")
    '\\\\=1+1\\\\|\\\\<b\\\\>a_b\\\\</b\\\\>'
    """
    escaped = _SPECIAL.sub(r"\\\1", text)
    return f"\\{escaped}" if escaped[:1] in ("=", "+", "-", "@") and escaped else escaped


def _number(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def _interval(row: dict[str, Any], digits: int) -> str:
    low, high = row["ci95_low"], row["ci95_high"]
    return NOTHING if math.isnan(low) or math.isnan(high) else f"{low:.{digits}f} to {high:.{digits}f}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def summary_table(rows: Sequence[dict[str, Any]], metric: str, scale: str) -> Table:
    """One line a group."""
    digits = digits_of(scale)
    body = [
        [
            row["exp_name"],
            _count(row["sample_step"]),
            str(row["n_runs"]),
            _count(row["n_train_seeds"]),
            _count(row["n_eval_seeds"]),
            *(_number(row[key], digits) for key in ("mean", "std_pop", "std_sample")),
            _interval(row, digits),
            _number(row["std_between_train"], digits),
            _number(row["std_within_eval"], digits),
        ]
        for row in rows
    ]
    return f"{metric} (scale {scale})", [*HEADER, *SPLIT], body


def seeds_table(row: dict[str, Any], scale: str) -> Table:
    """One line a train seed of one group."""
    digits = digits_of(scale)
    steps = "" if row["sample_step"] is None else f"@{row['sample_step']}"
    body = [
        [
            str(item["train_seed"]),
            str(item["n_runs"]),
            *(_number(item[key], digits) for key in ("mean", "std_pop", "std_sample")),
            (item["ckpt_sha256"] or NOTHING)[:12],
        ]
        for item in row["train_seeds"]
    ]
    header = ["train seed", "runs", "mean", "std (pop)", "std (sample)", "checkpoint"]
    return f"{row['exp_name']}{steps}: {row['metric']} by train seed", header, body


def comparison_lines(item: dict[str, Any], scale: str) -> list[str]:
    """A comparison in words."""
    digits = digits_of(scale)
    n = f"n = {item['n']} pairs" if "n" in item else f"n = {item['n_a']} and {item['n_b']}"
    text = f"{item['a']} − {item['b']}: {item['mean_diff']:+.{digits}f} {item['metric']}"
    if "ci_low" in item and not math.isnan(item["ci_low"]):
        text += f", 95 % interval {item['ci_low']:+.{digits}f} to {item['ci_high']:+.{digits}f}"
    test = {"paired": "paired t test", "unpaired": "Welch's t test, unpaired"}.get(item["test"], item["test"])
    text += (
        f", p {value if (value := p_value(item['p'])).startswith('<') else f'= {value}'} ({test} over train seeds, {n})"
    )
    return [text, f"verdict: {item['verdict']}", *item["refused"]]


def digits_of(scale: str) -> int:
    """Digits after the point that are printed: 2 on 0-100, 4 on 0-1."""
    return 2 if scale == "0-100" else 4


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was refused, by group; groups with the same reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        steps = "" if row["sample_step"] is None else f"@{row['sample_step']}"
        for reason in row["refused"]:
            by_reason.setdefault(reason, []).append(f"{row['exp_name']}{steps}")
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def markdown(tables: Sequence[Table], lines: Sequence[str]) -> str:
    """Tables and lines as Markdown, all foreign text escaped."""
    parts = []
    for title, header, rows in tables:
        rule = "|" + "|".join(["---", *["---:"] * (len(header) - 1)]) + "|"
        body = ["| " + " | ".join(escape_markdown(cell) for cell in row) + " |" for row in rows]
        parts.append("\n".join([f"**{escape_markdown(title)}**", "", f"| {' | '.join(header)} |", rule, *body]))
    parts += [escape_markdown(line) for line in lines]
    return "\n\n".join(parts)


def plain(tables: Sequence[Table], lines: Sequence[str]) -> str:
    """Tables with aligned columns, for pipes and files."""
    parts = []
    for title, header, rows in tables:
        widths = [max(len(line[index]) for line in [header, *rows]) for index in range(len(header))]
        body = []
        for line in [header, *rows]:
            cells = [line[0].ljust(widths[0]), *(cell.rjust(widths[i]) for i, cell in enumerate(line[1:], start=1))]
            body.append("  ".join(cells).rstrip())
        parts.append("\n".join([title, *body]))
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])])


def print_rich(tables: Sequence[Table], lines: Sequence[str]) -> None:
    """Tables on a terminal. Cells are text: nothing in a file is markup."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    for title, header, rows in tables:
        table = RichTable(title=Text(title), box=None, title_justify="left", padding=(0, 1))
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        console.print()
    for line in lines:
        console.print(Text(line))


def to_json(document: dict[str, Any]) -> str:
    """JSON text; undefined numbers are null."""
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
