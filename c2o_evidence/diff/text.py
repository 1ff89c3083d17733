"""A comparison for a reader: lines for a terminal or a log, Markdown for a pull request."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from c2o_evidence.diff import Diff
from c2o_evidence.diff.verdicts import VERDICTS, Move, RowDiff, Section, Test, Verdict
from c2o_evidence.limits import MAX_MESSAGE
from c2o_evidence.printable import printable
from c2o_evidence.tables.text import p_value

SHOWN = 20  # rows of a section; all are in --json
SHOWN_MOVES = 4  # numbers of a row
MARKDOWN_ROWS = 100  # a comment has at most 65 536 characters
STYLES = {"identical": "green", "same numbers": "green", "moved": "yellow", "not comparable": "magenta"}


def counted(counts: Mapping[Verdict, int]) -> str:
    """`20 identical, 5 moved`, in the order of VERDICTS."""
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts.get(name)) or "nothing"


def value(number: float) -> str:
    """Enough digits to see what moved."""
    return "undefined" if number != number else f"{number:.4g}" if abs(number) < 1 else f"{number:.2f}"


def moved(move: Move) -> str:
    """`AP 48.10 -> 48.60, +0.50`."""
    text = f"{move.column} {value(move.a)} -> {value(move.b)}"
    return text if move.delta != move.delta else f"{text}, {'+' if move.delta >= 0 else '-'}{_size(move.delta)}"


def _size(delta: float) -> str:
    return f"{abs(delta):.2f}" if abs(delta) >= 0.01 else f"{abs(delta):.1e}"


def tested(test: Test) -> str:
    """`95 % interval +0.10 to +0.90, p = 0.021 (paired t, 5 train seeds)`, or why there is none."""
    if test.refused:
        return test.refused
    seeds = f"{test.n_a} train seeds" if test.kind.startswith("paired") else f"{test.n_a} and {test.n_b} train seeds"
    p = p_value(test.p)
    return (
        f"95 % interval {test.ci_low:+.2f} to {test.ci_high:+.2f}, p {p if p.startswith('<') else f'= {p}'} "
        f"({test.kind}, {seeds})"
    )


def _says(row: RowDiff) -> str:
    parts = []
    ordered = sorted(row.moves, key=lambda move: move.test is None)
    for move in ordered[:SHOWN_MOVES]:
        parts.append(moved(move) + (f", {tested(move.test)}" if move.test is not None else ""))
    if len(row.moves) > SHOWN_MOVES:
        parts.append(f"and {len(row.moves) - SHOWN_MOVES} more numbers")
    return "; ".join([*parts, *row.says])


def lines(found: Diff) -> Iterable[tuple[str, str]]:
    """Lines with a style each (empty: none)."""
    for side, given in (("A", found.a), ("B", found.b)):
        yield f"{side}: {given.name}: {given.vouched}", ""
    for item in found.sections:
        yield "", ""
        yield f"{item.title}: {item.verdict}" + (f" ({counted(item.counts)})" if item.counts else ""), "bold"
        yield from ((f"  {printable(fact, MAX_MESSAGE)}", "") for fact in item.facts)
        yield from _row_lines(item.settings, "settings")
        yield from _row_lines(item.rows, "rows")
    yield "", ""
    yield f"{found.verdict}: {_verdict_text(found)}", STYLES.get(found.verdict, "yellow")


def _row_lines(rows: Sequence[RowDiff], what: str) -> Iterable[tuple[str, str]]:
    for row in rows[:SHOWN]:
        text = printable(_says(row), MAX_MESSAGE)
        yield f"  {row.verdict}: {printable(row.row)}" + (f": {text}" if text else ""), STYLES.get(row.verdict, "")
    if len(rows) > SHOWN:
        yield f"  … and {len(rows) - SHOWN} more {what} (--json has all)", ""


def _verdict_text(found: Diff) -> str:
    meaning = {
        "identical": "the same bytes",
        "same numbers": "other bytes, equal values",
        "moved": "numbers are other ones in B (differences are B - A)",
        "differs": "not in numbers that both have",
        "not comparable": "what the two measure is not the same",
    }
    return meaning.get(found.verdict, "")


def markdown(found: Diff) -> str:
    """A comment: the verdict, the moved rows as a table, all else folded away."""
    out = [f"### {found.verdict}: {_code(found.a.name)} → {_code(found.b.name)}\n", f"{_verdict_text(found)}.\n"]
    out += [f"- {side}: {_text(given.vouched)}" for side, given in (("A", found.a), ("B", found.b))]
    rows = [row for item in found.sections if item.decides for row in (item.settings or item.rows)]
    table = [(row, move) for row in rows for move in row.moves]
    if table:
        out += ["", "| row | number | A | B | B − A | test |", "|---|---|---:|---:|---:|---|"]
        for row, move in table[:MARKDOWN_ROWS]:
            test = tested(move.test) if move.test is not None else "–"
            delta = "–" if move.delta != move.delta else f"{'+' if move.delta >= 0 else '−'}{_size(move.delta)}"
            cells = (row.row, move.column, value(move.a), value(move.b), delta, test)
            out.append("| " + " | ".join(_text(cell) for cell in cells) + " |")
        if len(table) > MARKDOWN_ROWS:
            out.append(f"\n… and {len(table) - MARKDOWN_ROWS} more")
    for item in found.sections:
        out += _details(item)
    return "\n".join(out) + "\n"


def _details(item: Section) -> list[str]:
    summary = f"{item.title}: {item.verdict}" + (f" ({counted(item.counts)})" if item.counts else "")
    body = [f"- {_text(fact)}" for fact in item.facts]
    for row in [*item.settings, *item.rows][:MARKDOWN_ROWS]:
        text = _says(row)
        body.append(f"- {row.verdict}: {_code(row.row)}" + (f": {_text(text)}" if text else ""))
    left = len(item.settings) + len(item.rows) - MARKDOWN_ROWS
    if left > 0:
        body.append(f"- … and {left} more")
    if not body:
        return [f"\n{_text(summary)}"]
    return ["", "<details>", f"<summary>{_text(summary)}</summary>", "", *body, "", "</details>"]


def _text(text: str) -> str:
    """Text that is not taken for Markdown or HTML."""
    safe = html.escape(printable(text, 1000), quote=False)
    for mark in "\\`*_[]|@~#":
        safe = safe.replace(mark, f"\\{mark}" if mark != "@" else "@\u200b")
    return safe


def _code(text: str) -> str:
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"
