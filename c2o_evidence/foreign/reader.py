"""Reading results files of other origin: TSV, or CSV by the file's name, one row a run.

Needed are a column AP and train_seed or eval_seed or both. exp_name (else the file's name), sample_step,
ckpt_path and ckpt_sha256 are used where they are there; all other columns are kept as text. Nothing is
repaired or guessed: what is not plainly a table of runs is an error with file, line and column.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.errors import TableError
from c2o_evidence.limits import MAX_COLUMNS, MAX_FOREIGN_LINE, MAX_FOREIGN_RUNS
from c2o_evidence.plain_file import LIMITS, open_plain
from c2o_evidence.printable import printable
from c2o_evidence.schemas import did_you_mean

USED = ("exp_name", "train_seed", "eval_seed", "sample_step", "ckpt_path", "ckpt_sha256")

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SEED = re.compile(r"0|[1-9][0-9]{0,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARKS = {b"\xef\xbb\xbf": "UTF-8 with a byte order mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True, slots=True)
class Run:
    """One row. A seed or step is None where its column is not there; `values` has the metrics asked for."""

    file: str
    line: int
    exp_name: str
    train_seed: int | None
    eval_seed: int | None
    sample_step: int | None
    values: dict[str, float]
    ckpt_path: str | None = None
    ckpt_sha256: str | None = None

    @property
    def place(self) -> str:
        """`FILE:LINE`."""
        return f"{self.file}:{self.line}"


Group = tuple[str, int | None]  # exp_name, sample_step


@dataclass
class ForeignRuns:
    """The runs of all files. `extra`: for each group and further column its one value, or None if it varies."""

    runs: list[Run] = field(default_factory=list)
    extra: dict[Group, dict[str, str | None]] = field(default_factory=dict)


def read_foreign(paths: Sequence[str | Path], metrics: Sequence[str] = ("AP",)) -> ForeignRuns:
    """Reads and joins results files. AP is always read, to know the scale.

    Raises:
        TableError: `FILE:LINE: COLUMN: VALUE what is wrong; what to do`, the first fault found.
    """
    found = ForeignRuns()
    seen: dict[Path, str] = {}
    for path in map(Path, paths):
        if first := seen.get(path.resolve()):
            raise TableError(f"{path}: is named twice (as {first} before); name each file once")
        seen[path.resolve()] = str(path)
        _read(path, list(dict.fromkeys(("AP", *metrics))), found)
    return found


def _read(path: Path, metrics: Sequence[str], found: ForeignRuns) -> None:
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _tsv_rows(path)
    _, header = next(rows, (1, []))
    _check_header(path, header, metrics)
    extra = [name for name in header if name not in (*USED, *metrics)]
    at = len(found.runs)
    for line, cells in rows:
        if len(cells) != len(header):
            raise TableError(f"{path}:{line}: has {len(cells)} cells, the header has {len(header)}; restore the line")
        if len(found.runs) >= MAX_FOREIGN_RUNS:
            raise TableError(f"{path}:{line}: more than the limit of {MAX_FOREIGN_RUNS} runs in all ({LIMITS})")
        row = dict(zip(header, cells, strict=True))
        run = _run(path, line, row, metrics)
        found.runs.append(run)
        kept = found.extra.setdefault((run.exp_name, run.sample_step), {})
        for name in extra:
            if kept.setdefault(name, row[name]) != row[name]:
                kept[name] = None
    if len(found.runs) == at:
        raise TableError(f"{path}: has a header and no rows; name a file with runs")


def _run(path: Path, line: int, row: dict[str, str], metrics: Sequence[str]) -> Run:
    def refuse(column: str, what: str) -> TableError:
        return TableError(f"{path}:{line}: {column}: {printable(repr(row[column]))} {what}")

    def whole(column: str, least: int) -> int | None:
        if column not in row:
            return None
        if not _SEED.fullmatch(row[column]) or int(row[column]) < least:
            raise refuse(column, f"is not a whole number of {least} or more; correct the cell")
        return int(row[column])

    for column, text in row.items():
        if printable(text, len(text)) != text:
            raise refuse(column, "has a control or hidden character; remove it")
    values = {}
    for column in metrics:
        text = row[column]
        if text.strip().lower() in ("nan", "", "na", "n/a", "none", "null", "-"):
            raise refuse(
                column, "is no number: an undefined run leaves its mean undefined; take the run out and say so"
            )
        if not _NUMBER.fullmatch(text) or not abs(float(text)) < float("inf"):
            raise refuse(column, "is not a number; correct the cell")
        values[column] = float(text)
    if "exp_name" in row and not row["exp_name"].strip():
        raise refuse("exp_name", "is empty; name the experiment")
    digest = row.get("ckpt_sha256")
    if digest is not None and not _SHA256.fullmatch(digest):
        raise refuse("ckpt_sha256", "is not a SHA-256 of 64 lowercase hexadecimal digits; run sha256sum again")
    return Run(
        file=str(path),
        line=line,
        exp_name=row.get("exp_name", path.stem),
        train_seed=whole("train_seed", 0),
        eval_seed=whole("eval_seed", 0),
        sample_step=whole("sample_step", 1),
        values=values,
        ckpt_path=row.get("ckpt_path"),
        ckpt_sha256=digest,
    )


def _check_header(path: Path, header: Sequence[str], metrics: Sequence[str]) -> None:
    if len(header) > MAX_COLUMNS:
        raise TableError(f"{path}:1: has {len(header)} columns, more than the limit of {MAX_COLUMNS} ({LIMITS})")
    for index, name in enumerate(header):
        if not name.strip():
            raise TableError(f"{path}:1: column {index + 1} has no name; name it")
        if printable(name, len(name)) != name:
            what = "has a control or hidden character in its name; remove it"
            raise TableError(f"{path}:1: column {index + 1}: {printable(repr(name))} {what}")
        if name in header[:index]:
            first = header.index(name) + 1
            raise TableError(f"{path}:1: {name!r} names columns {first} and {index + 1}; every column has its own name")
    for name in metrics:
        if name not in header:
            raise TableError(f"{path}:1: there is no column {name!r}; {did_you_mean(name, header)}")
    if "train_seed" not in header and "eval_seed" not in header:
        raise TableError(f"{path}:1: there is no column 'train_seed' or 'eval_seed'; known: {', '.join(header)}")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, their line ends included, one at a time: memory does not grow with the file."""
    number = 0
    try:
        with open(open_plain(path), "rb") as file:
            for number, data in enumerate(iter(lambda: file.readline(MAX_FOREIGN_LINE + 1), b""), start=1):
                yield _line(path, number, data)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}; correct the path") from error
    if not number:
        raise TableError(f"{path}: is empty; name a file with runs")


def _line(path: Path, number: int, data: bytes) -> str:
    if number == 1:
        for mark, what in _MARKS.items():
            if data.startswith(mark):
                raise TableError(f"{path}:1: is {what}; save it as UTF-8 without a byte order mark")
    if len(data) > MAX_FOREIGN_LINE:
        raise TableError(f"{path}:{number}: is longer than the limit of {MAX_FOREIGN_LINE} bytes ({LIMITS})")
    if b"\r" in data:
        raise TableError(f"{path}:{number}: has a CR; lines end with LF alone: convert it (dos2unix {path.name})")
    if not data.endswith(b"\n"):
        raise TableError(f"{path}:{number}: ends without a line break; it may be cut off: add one if it is whole")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}:{number}: is not UTF-8 (byte {error.start + 1} of the line); convert it") from None


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(path), start=1):
        yield number, line[:-1].split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_lines(path), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"{path}:{number}: is not CSV: {error}; correct the line") from None
        yield number, cells
