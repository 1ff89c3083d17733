"""A table in a Markdown file against the one it should be: each cell that differs, and what was done to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from c2o_evidence.published.kinds import Table
from c2o_evidence.published.markers import Place, is_rule, split_row
from c2o_evidence.verify.findings import Finding

Cells = tuple[str, ...]


def compare_place(place: Place, expected: Table) -> Iterator[Finding]:
    """Findings for a marked table. Rows are matched by what names them, so one missing row is one finding."""
    numbered = [(place.first + 2 + index, line) for index, line in enumerate(place.lines) if line.strip()]
    table = [(number, line) for number, line in numbered if line.lstrip().startswith("|")]
    for number, line in numbered:
        if (number, line) not in table:
            yield Finding("row-extra", place.path, "is no line of the table", f"line {number}", "", "", line.strip())
    if len(table) < 2 or not is_rule(table[1][1]):
        yield Finding("malformed", place.path, "there is no table below the comment", f"line {place.first + 1}")
        return
    header = tuple(split_row(table[0][1]))
    yield from _compare_header(place, table[0][0], header, expected)
    if len(header) != len(expected.columns):
        return
    rows: list[tuple[int, Cells]] = []
    for number, line in table[2:]:
        cells = tuple(split_row(line))
        if len(cells) == len(header):
            rows.append((number, cells))
        else:
            message = f"has {len(cells)} cells, the header {len(header)}"
            yield Finding("malformed", place.path, message, f"line {number} ({cells[0]})")
    yield from _compare_rows(place, rows, expected)


def _compare_header(place: Place, number: int, header: Cells, expected: Table) -> Iterator[Finding]:
    if len(header) != len(expected.columns):
        message = f"has {len(header)} columns, {len(expected.columns)} are asked for"
        want, have = ", ".join(expected.columns), ", ".join(header)
        yield Finding("malformed", place.path, message, f"line {number} (header)", "", want, have)
        return
    for want, have in zip(expected.columns, header, strict=True):
        if want != have:
            message = "is not the column that is asked for"
            yield Finding("row-edited", place.path, message, f"line {number} (header)", want, want, have)


def _compare_rows(place: Place, rows: Sequence[tuple[int, Cells]], expected: Table) -> Iterator[Finding]:
    wanted = {_key(expected, cells): cells for cells in expected.rows}
    pairs: list[tuple[int, Cells, Cells]] = []
    strangers: list[tuple[int, Cells]] = []
    seen: dict[Cells, int] = {}
    for number, cells in rows:
        key = _key(expected, cells)
        if key in seen:
            message = f"this row is in line {seen[key]} already"
            yield Finding("used-twice", place.path, message, f"line {number} ({_name(expected, cells)})")
        elif key in wanted:
            pairs.append((number, cells, wanted[key]))
        else:
            strangers.append((number, cells))
        seen.setdefault(key, number)
    missing = [cells for key, cells in wanted.items() if key not in seen]
    for number, cells in strangers:
        match = _renamed(expected, cells, missing)
        if match is None:
            message = "nothing asks for this row"
            yield Finding("row-extra", place.path, message, f"line {number} ({_name(expected, cells)})")
        else:
            missing.remove(match)
            pairs.append((number, cells, match))
    for cells in missing:
        message = "this row is not there"
        yield Finding("row-missing", place.path, message, f"{_name(expected, cells)} (table of line {place.first + 1})")
    yield from _compare_order(place, sorted(pairs), expected)
    for number, cells, want in sorted(pairs):
        yield from _compare_cells(place, number, cells, want, expected)


def _compare_order(place: Place, pairs: Sequence[tuple[int, Cells, Cells]], expected: Table) -> Iterator[Finding]:
    there = [want for _, _, want in pairs]
    should = [cells for cells in expected.rows if cells in there]
    for (number, cells, want), other in zip(pairs, should, strict=False):
        if want != other:
            where = f"line {number} ({_name(expected, cells)})"
            message = "the rows are not in their order, from this one on"
            have, right = _name(expected, cells), _name(expected, other)
            yield Finding("row-reordered", place.path, message, where, "", right, have)
            return


def _compare_cells(place: Place, number: int, cells: Cells, want: Cells, expected: Table) -> Iterator[Finding]:
    where = f"line {number} ({_name(expected, want)})"
    if owner := _owner(expected, cells, want):
        yield Finding("swapped", place.path, f"holds the numbers of {_name(expected, owner)}", where)
        return
    for column, right, have in zip(expected.columns, want, cells, strict=True):
        if right != have:
            yield Finding("row-edited", place.path, "does not follow from the rows", where, column, right, have)


def _key(table: Table, cells: Cells) -> Cells:
    return tuple(cells[index] for index in table.key)


def _name(table: Table, cells: Cells) -> str:
    return ", ".join(filter(None, _key(table, cells)))


def _numbers(table: Table, cells: Cells) -> Cells:
    return tuple(cell for cell, left in zip(cells, table.left, strict=True) if not left)


def _renamed(table: Table, cells: Cells, missing: Sequence[Cells]) -> Cells | None:
    """The missing row that a row of an unknown name must be: the one with the same numbers."""
    same = [other for other in missing if _numbers(table, other) == _numbers(table, cells)]
    return same[0] if len(same) == 1 else None


def _owner(table: Table, cells: Cells, want: Cells) -> Cells | None:
    """The other row whose numbers this row holds; None where it holds its own, or there are too few to tell."""
    numbers = _numbers(table, cells)
    if len(numbers) < 2 or numbers == _numbers(table, want):
        return None
    return next((other for other in table.rows if _numbers(table, other) == numbers), None)
