"""The TSVs of C2O: columns from `workflow/schemas/*.schema.json`, one spelling for every value, strict
reading.

A TSV is UTF-8 with LF line ends, a header line, one line a row and no blank line, so row `i` of the
returned list is line `i + 2` of the file. Floats are written with `repr`, which reads back to the same
bits; an undefined float is `nan`, an absent value of a nullable column an empty cell. Equal rows give equal
bytes.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import TableError
from c2o_evidence.limits import MAX_COLUMNS, MAX_TABLE
from c2o_evidence.paths import path_fault
from c2o_evidence.plain_file import LIMITS, read_plain
from c2o_evidence.schemas import did_you_mean, load_schema

Cell = str | int | float | None
Row = dict[str, Any]
Kind = Literal["int", "float", "str", "sha256", "path"]

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What a spreadsheet would run. A label such as "+ IoU bias" is text for it only while it has words alone.
_FORMULA = re.compile(r"\s*(?:[=@]|[+-](?!\Z| [\w ,.+/-]*\Z))")


class _Known(dict[Any, Any]):
    """Results of a function by its argument; what is asked for the first time is computed."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, key: Any) -> Any:
        value = self[key] = self.function(key)
        return value


def text_fault(text: str) -> str | None:
    """Why a text cannot be a cell, or None: it would break the line, hide on a terminal or run in a spreadsheet."""
    if _CONTROL.search(text):
        return "has a tab, a line break or another control character"
    return "is a formula to a spreadsheet; begin with a letter" if _FORMULA.match(text) else None


@dataclass(frozen=True)
class Column:
    """One column: its type, whether a cell may be empty, and what values are possible."""

    name: str
    kind: Kind
    nullable: bool = False
    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    description: str = ""

    def format(self, value: Any) -> str:
        """The cell text of `value`.

        Raises:
            ValueError: the value is not possible in this column; the message says why.
        """
        if value is None:
            text = ""
        elif self.kind == "int":
            # numpy integers count as integers, booleans and floats do not.
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise ValueError("is not a whole number")
            number = int(value)
            self._check_range(number)
            return str(number)
        elif self.kind == "float":
            if isinstance(value, (bool, str)):
                raise ValueError("is not a number")
            real = float(value)
            self._check_float(real)
            return repr(real)
        elif isinstance(value, str):
            text = value
        else:
            raise ValueError("is not text")
        self.parse(text)
        return text

    def parse(self, text: str) -> Cell:
        """The value of a cell text; floats may be nan.

        Raises:
            ValueError: the text is not the one spelling of a possible value; the message says why.
        """
        if text == "":
            if self.nullable:
                return None
            raise ValueError("is empty; a value is needed")
        if self.kind == "int":
            if not _INT.fullmatch(text) or text == "-0":
                raise ValueError("is not a whole number")
            self._check_range(int(text))
            return int(text)
        if self.kind == "float":
            return self._parse_float(text)
        self._check_text(text)
        return text

    def reader(self) -> Callable[[str], Cell]:
        """`parse` for one column of a file: a text that comes again is not looked at again."""
        # Floats hardly ever repeat, and remembering them would double the memory.
        return self.parse if self.kind == "float" else _Known(self.parse).__getitem__

    def writer(self) -> Callable[[Any], str]:
        """`format` for one column of a file, as `reader`."""
        if self.kind in ("int", "float"):
            return self.format
        known = _Known(self.format)
        # Of texts alone: 1, 1.0 and True are one key.
        return lambda value: known[value] if type(value) is str else self.format(value)

    def _parse_float(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("is not a number") from None
        if repr(value) != text:
            raise ValueError(f"is not spelled as it is written by C2O ({value!r})")
        self._check_float(value)
        return value

    def _check_float(self, value: float) -> None:
        if math.isinf(value):
            raise ValueError("is infinite; undefined values are nan")
        if not math.isnan(value):
            self._check_range(value)

    def _check_range(self, value: float) -> None:
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"is below {self.minimum:g}")
        if self.exclusive_minimum is not None and value <= self.exclusive_minimum:
            raise ValueError(f"is not above {self.exclusive_minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"is above {self.maximum:g}")

    def _check_text(self, text: str) -> None:
        if fault := text_fault(text):
            raise ValueError(fault)
        if self.kind == "sha256" and not _SHA256.fullmatch(text):
            raise ValueError("is not a SHA-256 of 64 lowercase hexadecimal digits")
        if self.kind == "path" and (fault := path_fault(text)):
            raise ValueError(f"is not a usable path: {fault}")
        if self.choices and text not in self.choices:
            raise ValueError(f"is not one of {', '.join(self.choices)}")
        if self.pattern and not re.search(self.pattern, text):
            raise ValueError(f"does not match {self.pattern}")


@dataclass(frozen=True)
class TsvSchema:
    """The columns of one kind of TSV.

    Attributes:
        columns: the fixed columns, in file order.
        extra: (pattern, column) for further columns, e.g. `AP-<class>`; they follow the fixed ones, in the
            order given.
        key: columns that together name a row; no two rows share them.
        sort: columns that rows are sorted by when written; empty where the order is the author's.
    """

    name: str
    columns: tuple[Column, ...]
    extra: tuple[tuple[str, Column], ...]
    key: tuple[str, ...]
    sort: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fixed columns."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column | None:
        """The column of that name, fixed or extra, or None."""
        for column in self.columns:
            if column.name == name:
                return column
        return next((column for pattern, column in self.extra if re.search(pattern, name)), None)


@cache
def tsv_schema(name: str) -> TsvSchema:
    """The TSV schema `workflow/schemas/NAME.schema.json`.

    Raises:
        EvidenceError: there is no such schema.
    """
    document = load_schema(name)
    return TsvSchema(
        name=name,
        columns=tuple(_column(key, value) for key, value in document["properties"].items()),
        extra=tuple((key, _column(key, value)) for key, value in document.get("patternProperties", {}).items()),
        key=tuple(document["x-key"]),
        sort=tuple(document.get("x-sort", ())),
    )


def _column(name: str, prop: Mapping[str, Any]) -> Column:
    types = [prop["type"]] if isinstance(prop["type"], str) else list(prop["type"])
    base = next(kind for kind in types if kind != "null")
    kind = {"integer": "int", "number": "float", "string": prop.get("format", "str")}[base]
    return Column(
        name=name,
        kind=cast(Kind, kind),
        nullable="null" in types,
        minimum=prop.get("minimum"),
        exclusive_minimum=prop.get("exclusiveMinimum"),
        maximum=prop.get("maximum"),
        choices=tuple(prop.get("enum", ())),
        pattern=prop.get("pattern"),
        description=prop.get("description", ""),
    )


def format_tsv(rows: Iterable[Mapping[str, Any]], schema: TsvSchema | str, source: str = "table") -> str:
    """The text of a TSV. Rows are mappings by column name; all have the same extra columns.

    Raises:
        TableError: a row lacks a column, has an unknown one, holds an impossible value, or shares its key
            with another. The message starts with `source`.
    """
    schema = tsv_schema(schema) if isinstance(schema, str) else schema
    ordered = list(rows)
    header = [*schema.names, *(name for name in (ordered[0] if ordered else ()) if name not in schema.names)]
    _check_header(header, schema, source)
    wanted = set(header)
    for number, row in enumerate(ordered):
        if row.keys() != wanted:
            odd = sorted(set(row) ^ wanted)[0]
            fault = f"unknown column; {did_you_mean(odd, schema.names)}" if odd in row else "is missing; give a value"
            raise TableError(f"{source}: row {number + 1}: {odd}: {fault}")
    if schema.sort:
        ordered.sort(key=lambda row: tuple(row[name] for name in schema.sort))
    columns = [_need(schema, name) for name in header]
    writers = [(name, column.writer()) for name, column in zip(header, columns, strict=True)]
    lines = ["\t".join(header)]
    for number, row in enumerate(ordered):
        cells = []
        try:
            for name, write in writers:
                cells.append(write(row[name]))
        except ValueError as error:
            name = header[len(cells)]
            raise TableError(f"{source}: row {number + 1}: {name}: {row[name]!r} {error}") from None
        lines.append("\t".join(cells))
    _check_keys(ordered, schema, source)
    return "\n".join(lines) + "\n"


def parse_tsv(text: str, schema: TsvSchema | str, source: str = "table", *, strict: bool = True) -> list[Row]:
    """The rows of a TSV text; see `read_tsv`."""
    schema = tsv_schema(schema) if isinstance(schema, str) else schema
    if "\r" in text:
        raise TableError(
            f"{source}:{text[: text.index(chr(13))].count(chr(10)) + 1}: has a CR; lines end with LF alone"
        )
    if not text.endswith("\n"):
        raise TableError(f"{source}: does not end with a line break; the file is cut off or was edited")
    lines = text[:-1].split("\n")
    header = lines[0].split("\t")
    _check_header(header, schema, source)
    readers = [_need(schema, name).reader() for name in header]
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise TableError(f"{source}:{number}: has {len(cells)} cells, the header {len(header)}; restore the line")
        values: list[Cell] = []
        try:
            for read, cell in zip(readers, cells, strict=True):
                values.append(read(cell))
        except ValueError as error:
            name, cell = header[len(values)], cells[len(values)]
            raise TableError(f"{source}:{number}: {name}: {cell!r} {error}") from None
        rows.append(dict(zip(header, values, strict=True)))
    if strict:
        _check_keys(rows, schema, source, lines=True)
        _check_order(rows, schema, source)
    return rows


def read_tsv(path: Path | str, schema: TsvSchema | str, *, strict: bool = True) -> list[Row]:
    """Read and check a TSV; row `i` of the result is line `i + 2` of the file.

    Args:
        strict: also refuse two rows with one key and rows out of order. A verifier turns this off to name
            such faults itself.

    Raises:
        TableError: the file is missing, or breaks the schema: `FILE:LINE: COLUMN: VALUE what is wrong`.
    """
    try:
        text = read_plain(path, MAX_TABLE).decode("utf-8")
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}; make the table again") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is not UTF-8 text (byte {error.start}); restore the file") from error
    return parse_tsv(text, schema, str(path), strict=strict)


def write_tsv(path: Path | str, rows: Iterable[Mapping[str, Any]], schema: TsvSchema | str) -> None:
    """Check and write a TSV atomically; equal rows give equal bytes.

    Raises:
        TableError: as `format_tsv`; nothing is written then.
    """
    atomic_write(path, format_tsv(rows, schema, str(path)))


def _check_header(header: Sequence[str], schema: TsvSchema, source: str) -> None:
    for index, name in enumerate(schema.names):
        if index >= len(header) or header[index] != name:
            found = repr(header[index]) if index < len(header) else "nothing"
            raise TableError(f"{source}: header: column {index + 1} is {found} instead of {name!r}; restore the header")
    if len(header) > MAX_COLUMNS:
        raise TableError(
            f"{source}: header: has {len(header)} columns, more than the limit of {MAX_COLUMNS} ({LIMITS})"
        )
    seen: set[str] = set()
    for name in header:
        if schema.column(name) is None or _CONTROL.search(name):
            raise TableError(f"{source}: header: {name!r} unknown column; {did_you_mean(name, schema.names)}")
        if name in seen:
            raise TableError(f"{source}: header: {name!r} is there twice; every column has its own name")
        seen.add(name)


def _need(schema: TsvSchema, name: str) -> Column:
    column = schema.column(name)
    if column is None:
        raise TableError(f"{schema.name}: {name!r} unknown column; {did_you_mean(name, schema.names)}")
    return column


def _check_keys(rows: Sequence[Mapping[str, Any]], schema: TsvSchema, source: str, lines: bool = False) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows, start=2 if lines else 1):
        key = tuple(row[name] for name in schema.key)
        if key in seen:
            text = ", ".join(f"{name}={value}" for name, value in zip(schema.key, key, strict=True))
            place = f"{source}:{number}" if lines else f"{source}: row {number}"
            raise TableError(
                f"{place}: {text} is already in {'line' if lines else 'row'} {seen[key]}; keep one of them"
            )
        seen[key] = number


def _check_order(rows: Sequence[Mapping[str, Any]], schema: TsvSchema, source: str) -> None:
    keys = [tuple(row[name] for name in schema.sort) for row in rows]
    for number, (first, second) in enumerate(zip(keys, keys[1:], strict=False), start=3):
        if second < first:
            raise TableError(f"{source}:{number}: is out of order by {', '.join(schema.sort)}; sort the rows")
