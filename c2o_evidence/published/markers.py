"""Tables in Markdown files between HTML comments that say what they show.

    <!-- c2o:table suite=step1_5seed table=summary columns="setting, AP" rows="student_1, baseline_1" -->
    | setting | AP |
    …
    <!-- c2o:end -->

`columns` and `rows` may be left out: all the usual columns, all rows of the suite. Comments in fenced code blocks
are examples and count for nothing.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_TEXT
from c2o_evidence.plain_file import read_plain
from c2o_evidence.schemas import did_you_mean

KEYS = ("suite", "table", "columns", "rows")
_BEGIN = re.compile(r"<!--\s*c2o:table\b(.*?)-->\s*")
_END = re.compile(r"<!--\s*c2o:end\s*-->\s*")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?")


@dataclass(frozen=True)
class Marker:
    """What a comment asks for. Empty `columns` or `rows`: the usual ones."""

    suite: str
    table: str
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """A marked place of a file: `first` and `last` are the indices of its two comments among the file's lines."""

    path: str
    first: int
    last: int
    marker: Marker
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """`FILE:LINE` of the opening comment."""
        return f"{self.path}:{self.first + 1}"


def read_lines(path: Path, name: str) -> list[str]:
    """The lines of a Markdown file.

    Raises:
        EvidenceError: it is missing, not UTF-8, or has CRs.
    """
    try:
        text = read_plain(path, MAX_TEXT).decode("utf-8")
    except OSError as error:
        raise EvidenceError(f"{name}: cannot be read: {error.strerror}; name a Markdown file") from error
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{name}: is not UTF-8 text (byte {error.start}); convert it") from None
    if "\r" in text:
        raise EvidenceError(f"{name}: has a CR; lines end with LF alone: convert it")
    return text.split("\n")


def find_places(lines: list[str], name: str) -> list[Place]:
    """The marked tables of a file, in order.

    Raises:
        EvidenceError: a comment is malformed, is not closed, or closes nothing: `FILE:LINE: …`.
    """
    places: list[Place] = []
    begin: tuple[int, Marker] | None = None
    fence = ""
    for index, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and not (fence and not mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            continue
        if fence:
            continue
        if line.startswith("<!--") and "c2o:" in line and not (_BEGIN.fullmatch(line) or _END.fullmatch(line)):
            raise EvidenceError(f"{name}:{index + 1}: {line.strip()!r} is no c2o comment; see `c2o tables --help`")
        if match := _BEGIN.fullmatch(line):
            if begin:
                raise EvidenceError(
                    f"{name}:{index + 1}: the table of line {begin[0] + 1} is not closed; add <!-- c2o:end -->"
                )
            begin = index, _marker(match[1], f"{name}:{index + 1}")
        elif _END.fullmatch(line):
            if begin is None:
                raise EvidenceError(f"{name}:{index + 1}: closes no table; remove it")
            places.append(Place(name, begin[0], index, begin[1], tuple(lines[begin[0] + 1 : index])))
            begin = None
    if begin:
        raise EvidenceError(f"{name}:{begin[0] + 1}: is not closed; add <!-- c2o:end --> below the table")
    return places


def _marker(text: str, place: str) -> Marker:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise EvidenceError(f"{place}: cannot be read: {error}; see `c2o tables --help`") from None
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            raise EvidenceError(f"{place}: {word!r}: unknown key; {did_you_mean(key, KEYS)}")
        if key in values:
            raise EvidenceError(f"{place}: {key} is given twice; give it once")
        values[key] = value
    for key in ("suite", "table"):
        if not values.get(key):
            raise EvidenceError(f"{place}: {key} is missing; write {key}=NAME")
    columns, rows = (tuple(filter(None, map(str.strip, values.get(key, "").split(",")))) for key in ("columns", "rows"))
    return Marker(values["suite"], values["table"], columns, rows)


def split_row(line: str) -> list[str]:
    """The cells of a table line, `\\|` read as `|`."""
    inner = line.strip().removeprefix("|")
    cells = re.split(r"(?<!\\)\|", inner.removesuffix("|") if not inner.endswith("\\|") else inner)
    return [cell.strip().replace("\\|", "|") for cell in cells]


def is_rule(line: str) -> bool:
    """Whether a line is the rule below a header."""
    return _RULE.fullmatch(line.strip()) is not None
