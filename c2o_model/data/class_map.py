"""Which class of one data set is which of another: by name, and by a reviewed table of those that are called otherwise.

Names are read from the annotation files that the user has, not from a list kept here, so a set's misspellings and their
corrections both work. Tables are configs/class_maps/FROM_to_TO.tsv: after lines of comment and one of column names, a
line has a class of TO, a tab and the class of FROM that it is, or ``-`` where there is none though a name is the same.
Of several lines for a class the first whose second name FROM has counts. Called by :mod:`c2o_model.transfer`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2o_model.data import annotation_file as source
from c2o_model.data.errors import DataError
from c2o_model.data.public_sets import ROOT, VOC_CLASSES, datasets_root
from c2o_model.data.registration import EXTRA, parse_extra
from c2o_model.data.repro10k import CLASSES as REPRO10K_CLASSES

TABLES = Path(__file__).parents[2] / "configs" / "class_maps"
FILES = {
    "coco": "coco/annotations/instances_val2017.json",
    "lvis": "lvis/lvis_v1_val.json",
    "objects365": "objects365/annotations/zhiyuan_objv2_val.json",
}
FIXED = {"voc": VOC_CLASSES, "crowdhuman": ("person",), "repro10k": REPRO10K_CLASSES}
NONE = "-"


@dataclass(frozen=True)
class ClassMap:
    """For each class of the target the index of its class in the source, or None; and how it was found."""

    target: tuple[str, ...]
    source: tuple[str, ...]
    rows: tuple[int | None, ...]  # [K of the target], in 0..K of the source - 1
    how: tuple[str, ...]  # "name", "table", or "" where there is no counterpart

    def text(self) -> bytes:
        """The map as TSV, a line a target class: what its digest is of, and what a reviewer reads."""
        lines = ["target\tsource\thow\n"]
        for name, row, how in zip(self.target, self.rows, self.how, strict=True):
            lines.append(f"{name}\t{NONE if row is None else self.source[row]}\t{how}\n")
        return "".join(lines).encode()

    def sha256(self) -> str:
        """Digest of :meth:`text`."""
        return hashlib.sha256(self.text()).hexdigest()

    def without(self) -> tuple[str, ...]:
        """The target's classes that have no counterpart."""
        return tuple(name for name, row in zip(self.target, self.rows, strict=True) if row is None)


def class_names(name: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The classes of a set, in the order of category ids: what label k means.

    Args:
        name: coco, lvis, objects365 (their val JSON below $DETECTRON2_DATASETS is read), voc, crowdhuman, repro10k, a
            name in EXTRA_COCO_DATASETS, or the path of a JSON with COCO's ``categories``.

    Raises:
        DataError: no such set, or its file is missing or corrupt.
    """
    environ = os.environ if environ is None else environ
    if name in FIXED:
        return FIXED[name]
    extra = {entry.name: entry.json for entry in parse_extra(environ.get(EXTRA, ""))}
    if name in FILES:
        path = datasets_root(environ) / FILES[name]
    elif name in extra:
        path = extra[name]
    elif name.endswith(".json"):
        path = Path(name)
    else:
        have = ", ".join(sorted((*FILES, *FIXED, *extra)))
        raise DataError(name, "is not a set whose classes are known", f"use one of {have}, or the path of a COCO JSON")
    if not path.is_file():
        raise DataError(path, f"is missing, the classes of {name} are read from it", f"put it there, or set {ROOT}")
    found = {record["id"]: record["name"] for record in source.category_records(path, source.read_object(path))}
    if not found:
        raise DataError(path, "categories: is empty", "give a COCO detection JSON with categories")
    return tuple(found[key] for key in sorted(found))


def read_table(path: Path) -> dict[str, tuple[str, ...]]:
    """A table: for each target class, as written, the names to look for in the source, in order.

    Raises:
        DataError: the file is missing, has no such columns, or says the same twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error})", "give a table of classes, see configs/class_maps") from None
    found: dict[str, tuple[str, ...]] = {}
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    for number, line in rows[1:]:  # the first has the columns' names
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields):
            raise DataError(path, f"line {number}: is not TARGET<tab>SOURCE", "correct it")
        target, wanted = fields
        if wanted in found.get(target, ()) or (NONE in (wanted, *found.get(target, ())) and target in found):
            raise DataError(path, f"line {number}: {target} is listed twice with {wanted}", "remove a line")
        found[target] = (*found.get(target, ()), wanted)
    return found


def match_classes(target: Sequence[str], origin: Sequence[str], table: Mapping[str, Sequence[str]]) -> ClassMap:
    """The map from the target's classes to the source's. Names are the same without case, blanks and punctuation.

    Raises:
        DataError: two classes of the source have one name, or the table names a class that one of the sets lacks.
    """
    place: dict[str, int] = {}
    for index, name in enumerate(origin):
        if _plain(name) in place:
            raise DataError(name, "is the name of two classes of the source", "correct its annotation file")
        place[_plain(name)] = index
    unknown = sorted(set(map(_plain, table)) - set(map(_plain, target)))
    if unknown:
        raise DataError(
            "class map", f"names {', '.join(unknown)}, which the target lacks", "use the table of these sets"
        )
    wanted = {_plain(name): names for name, names in table.items()}
    rows: list[int | None] = []
    how = []
    for name in target:
        names = wanted.get(_plain(name))
        if names is None:
            row = place.get(_plain(name))
            how.append("" if row is None else "name")
        else:
            row = next((place[_plain(n)] for n in names if _plain(n) in place), None)
            if row is None and NONE not in names:
                what = f"{name} is {' or '.join(names)}, which the source lacks"
                raise DataError("class map", what, "use the table of these sets")
            how.append("" if row is None else "table")
        rows.append(row)
    return ClassMap(tuple(target), tuple(origin), tuple(rows), tuple(how))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip()
