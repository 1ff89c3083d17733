"""Every table of a place, with the types of its schema, as CSV, JSON and Parquet.

An undefined number is `nan` in CSV, null in JSON and Parquet (where pandas reads NaN); a text or whole number that is
absent is an empty cell in CSV and null in the others.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.exchange.place import Place
from c2o_evidence.tsv import Column, TsvSchema, read_tsv, tsv_schema

FORMAT = 1
SCHEMAS = {"runs": "results"}  # of tables whose schema has another name
ONE = re.compile(r"(?:tables/([\w-]+)|(manifest)|(?:timing/(timing)|attention/(attention)|parity/(parity)))\.tsv")
CURVE = re.compile(r"train/([^/]+)/seed(\d+)/curve\.tsv")
OF_CURVES = (
    Column("experiment", "str", description="experiment of the suite"),
    Column("train_seed", "int", description="seed of the training trajectory"),
)
TYPES = {"int": "integer", "float": "number"}  # all others are text
POINTS = "points, 0-100"
UNITS = (
    (r"(mean_|std_)?AP.*|(mean_)?(MR|JI)|(mean|std)_(a|b|diff)|std_(between_train|within_eval)", POINTS),
    (r"ci95_(low|high)", POINTS),
    (r"var_(train|eval)", "squares of points"),
    (r"inference_s_per_img.*", "s/image"),
    (r"inference_fps", "images/s"),
    (r"time_s.*", "s"),
    (r".*bytes", "B"),
    (r"image_(height|width)", "px"),
)


@dataclass(frozen=True)
class Table:
    """One table: its columns in order, and its rows as values by column name."""

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]

    def describe(self) -> dict[str, Any]:
        """Its columns as plain data: name, type, unit where one is known, whether a cell may be absent, meaning."""
        return {"table": self.name, "rows": len(self.rows), "columns": [_describe(column) for column in self.columns]}


def _describe(column: Column) -> dict[str, Any]:
    unit = next((unit for pattern, unit in UNITS if re.fullmatch(pattern, column.name)), None)
    told = {"name": column.name, "type": TYPES.get(column.kind, "text"), "unit": unit}
    return told | {"may_be_absent": column.nullable or column.kind == "float", "description": column.description}


def read_tables(place: Place) -> list[Table]:
    """All tables, by name; the learning curves of all trainings are one, `curves`.

    Raises:
        TableError: one of them is damaged.
        EvidenceError: there is none.
    """
    tables, curves = {}, []
    for path in place.files():
        if found := ONE.fullmatch(path):
            name = next(filter(None, found.groups()))
            tables[name] = _table(name, SCHEMAS.get(name, name), read_tsv(place.base / path, SCHEMAS.get(name, name)))
        elif found := CURVE.fullmatch(path):
            of = {"experiment": found[1], "train_seed": int(found[2])}
            curves.append([of | row for row in read_tsv(place.base / path, "curve")])
    if curves:
        tables["curves"] = _curves([row for rows in sorted(curves, key=_training) for row in rows])
    if not tables:
        raise EvidenceError(f"{place.base}: has no tables yet; run `c2o run {place.name}`")
    return [tables[name] for name in sorted(tables)]


def _table(name: str, schema: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    known = tsv_schema(schema)
    return Table(name, _columns(known, rows[0] if rows else known.names), rows)


def _columns(schema: TsvSchema, names: Iterable[str]) -> tuple[Column, ...]:
    """The columns of these names; one that stands for many, as AP-CLASS, under each of its names."""
    return tuple(replace(column, name=name) for name in names if (column := schema.column(name)) is not None)


def _training(rows: Sequence[Mapping[str, Any]]) -> tuple[str, int]:
    return (rows[0]["experiment"], rows[0]["train_seed"]) if rows else ("", 0)


def _curves(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Curves of all trainings: a column that some of them lack is undefined there."""
    own = {column.name for column in OF_CURVES}
    names = dict.fromkeys(name for row in rows for name in row if name not in own)
    columns = OF_CURVES + _columns(tsv_schema("curve"), names)
    absent = {column.name: math.nan if column.kind == "float" else None for column in columns}
    return Table("curves", columns, [absent | dict(row) for row in rows])


def csv_file(table: Table) -> bytes:
    """Comma-separated UTF-8 with LF, a header line, numbers in full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [column.name for column in table.columns]
    writer.writerow(names)
    for row in table.rows:
        writer.writerow([repr(value) if isinstance(value := row[name], float) else value for name in names])
    return stream.getvalue().encode("utf-8")


def json_file(table: Table, provenance: Mapping[str, Any]) -> bytes:
    """One document: provenance, columns, rows as mappings. RFC 8259 knows no NaN, so undefined is null."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    rows = [{column.name: plain(row[column.name]) for column in table.columns} for row in table.rows]
    told = table.describe()
    head = {"format": FORMAT, **provenance, "table": told["table"], "columns": told["columns"]}
    text = json.dumps(head, indent=1, ensure_ascii=False, allow_nan=False)
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False, allow_nan=False)}" for row in rows)
    return f'{text[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'.encode()


def parquet_file(table: Table, provenance: Mapping[str, Any]) -> bytes:
    """A Parquet file; the provenance is in its metadata, which pandas reads as `attrs`.

    Raises:
        EvidenceError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        raise EvidenceError("--to parquet needs pyarrow, which is not installed; `make extras` installs it") from None
    import pandas

    kinds = {"int": "Int64", "float": "float64"}
    data = {
        column.name: pandas.array([row[column.name] for row in table.rows], dtype=kinds.get(column.kind, "string"))
        for column in table.columns
    }
    frame = pandas.DataFrame(data)
    frame.attrs = {**provenance, **table.describe()}
    stream = io.BytesIO()
    frame.to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()


def provenance_file(tables: Sequence[Table], provenance: Mapping[str, Any]) -> bytes:
    """What goes beside CSV and Parquet: suite, root digest, version, and the columns of every table."""
    document = {"format": FORMAT, **provenance, "tables": [table.describe() for table in tables]}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def table_files(place: Place, kind: str) -> Iterator[tuple[str, bytes]]:
    """File names with content for `kind`: csv, json or parquet."""
    tables = read_tables(place)
    for table in tables:
        if kind == "csv":
            yield f"{table.name}.csv", csv_file(table)
        elif kind == "json":
            yield f"{table.name}.json", json_file(table, place.provenance)
        else:
            yield f"{table.name}.parquet", parquet_file(table, place.provenance)
    if kind != "json":
        yield "provenance.json", provenance_file(tables, place.provenance)
