"""CrowdHuman's .odgt: a JSON object a line, one line an image."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from c2o_evidence.datasets.contents import Contents, box_sides
from c2o_evidence.datasets.json_stream import COPY_AGAIN, open_set_file
from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_FILE, MAX_SET_LINE
from c2o_evidence.plain_file import LIMITS

_ID = re.compile(r"[\w,.-]+")
_TAGS = ("person", "mask")


def read_odgt(path: Path, progress: Callable[[int], None] | None = None) -> Contents:
    """What the file at `path` says; sizes of images are not in it. Faults of single lines are collected, not raised.

    Raises:
        DataSetError: it cannot be read or is too large, a line is too long, or no line is an image.
    """
    found = Contents(path, classes=1)
    seen: set[str] = set()
    digest = hashlib.sha256()
    descriptor, _ = open_set_file(path)
    with open(descriptor, "rb") as stream:
        number = 0
        while line := stream.readline(MAX_SET_LINE + 1):
            number += 1
            digest.update(line)
            found.size += len(line)
            if progress is not None:
                progress(len(line))
            if len(line) > MAX_SET_LINE:
                what = f"has more than the limit of {MAX_SET_LINE} bytes ({LIMITS})"
                raise DataSetError(f"{path}: line {number}: {what}; this is no .odgt file")
            if found.size > MAX_SET_FILE:
                raise DataSetError(f"{path}: grew while it was read; {COPY_AGAIN}")
            if line.strip():
                _take(found, seen, line, f"line {number}")
    if not found.names:
        raise DataSetError(f"{path}: no line is an image with an ID; {COPY_AGAIN}")
    found.sha256 = digest.hexdigest()
    return found


def _take(found: Contents, seen: set[str], line: bytes, where: str) -> None:
    try:
        record = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return found.fault("is not JSON, corrupt or truncated", where)
    if not isinstance(record, dict):
        return found.fault("is not a JSON object", where)
    name, boxes = record.get("ID"), record.get("gtboxes")
    if not isinstance(name, str) or not _ID.fullmatch(name) or name.strip(".") == "":
        return found.fault("ID: is missing or not a file name", where)
    if name in seen:
        return found.fault("ID: is used by a line before it", where)
    seen.add(name)
    found.image(f"{name}.jpg", 0, 0)
    if not isinstance(boxes, list):
        return found.fault("gtboxes: is missing or not a list", where)
    for index, box in enumerate(boxes):
        _box(found, box, f"{where}: gtboxes[{index}]")
    return None


def _box(found: Contents, box: Any, where: str) -> None:
    if not isinstance(box, dict):
        return found.fault("is not an object", where)
    sides, tag, extra = box_sides(box.get("fbox")), box.get("tag"), box.get("extra", {})
    if tag not in _TAGS:
        return found.fault("tag: is neither person nor mask", where)
    if sides is None:
        return found.fault("fbox: is missing or not [x, y, width, height]", where)
    if not isinstance(extra, dict):
        return found.fault("extra: is not an object", where)
    found.boxes += 1
    found.marked += tag == "mask" or extra.get("ignore", 0) == 1
    found.empty += sides[0] <= 0 or sides[1] <= 0
    return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
