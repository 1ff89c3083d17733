"""Comparing a table with the one it should be, cell by cell and as text, and naming what was done to it.

Rows are matched by their key, so that one missing row does not make every later row differ. A row that holds
another seed's numbers is called that, not a row with many edited cells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from c2o_evidence.tsv import TsvSchema, tsv_schema
from c2o_evidence.verify.findings import Finding

# Computed by scipy's special functions, whose last digits may differ between its versions.
LOOSE_COLUMNS = frozenset({"ci95_low", "ci95_high", "p_value"})
LOOSE_RELATIVE = 1e-10
SEEDS = frozenset({"train_seed", "eval_seed"})

Key = tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """A TSV as texts: header, and each row by its key; `order` has the keys as they come, repeated ones too."""

    header: tuple[str, ...]
    rows: Mapping[Key, Mapping[str, str]]
    order: tuple[Key, ...]


def split_tsv(text: str, schema: TsvSchema) -> Cells:
    """Splits a TSV into cells.

    Raises ValueError, saying what is wrong, if it is not a table of `schema`'s header.
    """
    if "\r" in text or not text.endswith("\n"):
        raise ValueError("lines do not end with LF alone, or the last one is cut off")
    lines = [line.split("\t") for line in text[:-1].split("\n")]
    header = tuple(lines[0])
    if header[: len(schema.names)] != schema.names:
        wrong = [name for name, want in zip(header, schema.names, strict=False) if name != want]
        raise ValueError(
            f"its header is not that of a {schema.name} table ({wrong[0] if wrong else 'columns missing'})"
        )
    if len(set(header)) != len(header):
        raise ValueError("a column is there twice")
    rows: dict[Key, Mapping[str, str]] = {}
    order = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise ValueError(f"line {number} has {len(cells)} cells, the header {len(header)}")
        row = dict(zip(header, cells, strict=True))
        key = tuple(row[name] for name in schema.key)
        rows.setdefault(key, row)
        order.append(key)
    return Cells(header, rows, tuple(order))


def key_text(schema: TsvSchema, key: Key) -> str:
    """`exp_name=baseline_1, train_seed=0, eval_seed=3`."""
    return ", ".join(f"{name}={value}" for name, value in zip(schema.key, key, strict=True))


def same_cell(column: str, expected: str, found: str) -> bool:
    """Whether a cell is what it should be: the same text; in LOOSE_COLUMNS the same number but for rounding."""
    if expected == found:
        return True
    if column not in LOOSE_COLUMNS:
        return False
    try:
        first, second = float(expected), float(found)
    except ValueError:
        return False
    return math.isclose(first, second, rel_tol=LOOSE_RELATIVE, abs_tol=LOOSE_RELATIVE)


def compare_tsv(path: str, schema_name: str, expected_text: str, found_text: str) -> Iterator[Finding]:
    """Findings for a TSV that should have the text `expected_text`. Nothing where the two agree."""
    if expected_text == found_text:
        return
    schema = tsv_schema(schema_name)
    expected = split_tsv(expected_text, schema)
    try:
        found = split_tsv(found_text, schema)
    except ValueError as error:
        yield Finding("malformed", path, str(error))
        return
    if found.header != expected.header:
        odd = sorted(set(found.header) ^ set(expected.header)) or ["order"]
        yield Finding("malformed", path, "its columns are not those expected", column=odd[0])
        return
    yield from _compare_keys(path, schema, expected, found)
    owners = _Owners(schema, expected)
    for key in expected.rows:
        if key in found.rows:
            yield from _compare_row(path, schema, key, expected, found, owners)


def _compare_keys(path: str, schema: TsvSchema, expected: Cells, found: Cells) -> Iterator[Finding]:
    for key in expected.rows:
        if key not in found.rows:
            yield Finding("row-missing", path, "this row is not there", row=key_text(schema, key))
    times = Counter(found.order)
    for key in found.rows:
        if key not in expected.rows:
            yield Finding("row-extra", path, "nothing asks for this row", row=key_text(schema, key))
        if times[key] > 1:
            yield Finding("used-twice", path, "this row is there more than once", row=key_text(schema, key))
    common = [key for key in dict.fromkeys(found.order) if key in expected.rows]
    wanted = [key for key in expected.order if key in found.rows]
    if common != wanted:
        place = next(index for index, (a, b) in enumerate(zip(common, wanted, strict=True)) if a != b)
        yield Finding(
            "row-reordered",
            path,
            "the rows are not in their order, from this one on",
            row=key_text(schema, common[place]),
            expected=key_text(schema, wanted[place]),
            found=key_text(schema, common[place]),
        )


class _Owners:
    """Whose numbers a row holds, among the rows of a table as it should be."""

    def __init__(self, schema: TsvSchema, expected: Cells) -> None:
        self._schema, self._expected = schema, expected
        self._seeds = [name in SEEDS for name in schema.key]
        columns = ((name, schema.column(name)) for name in expected.header)
        self._floats = [n for n, c in columns if c is not None and c.kind == "float" and n not in schema.key]

    def _values(self, row: Mapping[str, str]) -> Key:
        """The numbers of a row: what an evaluation or a statistic gave, not what says which row it is."""
        return tuple(row[name] for name in self._floats)

    def _but_seeds(self, key: Key) -> Key:
        return tuple(part for part, seed in zip(key, self._seeds, strict=True) if not seed)

    @cached_property
    def _by_values(self) -> dict[tuple[Key, Key], list[Key]]:
        """Keys by what they are but for the seeds, and by their numbers; two are enough to know another one."""
        found: dict[tuple[Key, Key], list[Key]] = {}
        for key, row in self._expected.rows.items():
            keys = found.setdefault((self._but_seeds(key), self._values(row)), [])
            if len(keys) < 2:
                keys.append(key)
        return found

    def other(self, key: Key, row: Mapping[str, str]) -> Key | None:
        """The first other row whose numbers `row` holds, if its key differs in a seed alone; None if there is none."""
        values = self._values(row)
        if not values or values == self._values(self._expected.rows[key]):
            return None
        keys = self._by_values.get((self._but_seeds(key), values), [])
        return next((other for other in keys if other != key), None)


def _compare_row(
    path: str, schema: TsvSchema, key: Key, expected: Cells, found: Cells, owners: _Owners
) -> Iterator[Finding]:
    row, want = found.rows[key], expected.rows[key]
    wrong = [name for name in expected.header if not same_cell(name, want[name], row[name])]
    other = owners.other(key, row) if wrong else None
    if other is not None:
        yield Finding(
            "swapped-between-seeds",
            path,
            f"holds the values of {key_text(schema, other)}",
            row=key_text(schema, key),
            column=wrong[0],
            expected=want[wrong[0]],
            found=row[wrong[0]],
        )
        wrong = [name for name in wrong if row[name] != expected.rows[other][name]]
    for name in wrong:
        yield Finding(
            "stale" if name.endswith("sha256") else "row-edited",
            path,
            "is another digest than that of the file" if name.endswith("sha256") else "does not follow from the runs",
            row=key_text(schema, key),
            column=name,
            expected=want[name],
            found=row[name],
        )


def compare_text(path: str, expected: str, found: str) -> Iterator[Finding]:
    """Findings for a Markdown or LaTeX table, or a page: the first lines that differ, by number."""
    if expected == found:
        return
    want, have = expected.split("\n"), found.split("\n")
    shown = 0
    for number in range(max(len(want), len(have))):
        a = want[number] if number < len(want) else ""
        b = have[number] if number < len(have) else ""
        if a != b and shown < 5:
            shown += 1
            yield Finding("row-edited", path, "does not follow from the runs", f"line {number + 1}", "", a, b)
    if not shown:  # the lines are the same ones, but for empty ones at the end
        message = "ends with another number of line breaks than it should"
        yield Finding("row-edited", path, message, "", "", str(len(want) - 1), str(len(have) - 1))
