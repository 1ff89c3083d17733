"""Figures drawn again from the tables and compared, where this machine draws as the one that made them.

The same rows give the same picture for one version of the drawing code, of matplotlib and of Pillow on one kind of
machine: the record of the tables says which these were. Elsewhere the figures are not compared, and a note says why.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import c2o_evidence
from c2o_evidence import figures
from c2o_evidence.code import code_digest
from c2o_evidence.errors import EvidenceError
from c2o_evidence.extent import Extent
from c2o_evidence.limits import MAX_TEXT
from c2o_evidence.plain_file import read_plain
from c2o_evidence.records import Record
from c2o_evidence.report import read_svg
from c2o_evidence.suite import Suite
from c2o_evidence.verify.findings import Finding

LIBRARIES = ("matplotlib", "pillow", "fonttools")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_figures(
    root: Path, suite: Suite, digests: Mapping[str, str], record: Record | None
) -> tuple[list[Finding], list[str]]:
    """Findings for figures that are not the pictures of the bundle's tables and curves; a note if none was drawn."""
    reason = "the record of the tables cannot be read" if record is None else _other_drawing(root, record)
    if reason:
        return [], [f"figures were not compared: {reason}"]
    try:
        drawn = figures.draw(root, suite)
    except EvidenceError:
        return [], ["figures were not compared: a table or curve that they show is damaged"]
    return list(_compare(root, drawn, digests)), []


def unsafe_figures(root: Path, suite: Suite, digests: Mapping[str, str], extent: Extent) -> Iterator[Finding]:
    """Findings for SVG figures that hold more than a drawing: they are put into the page."""
    for name in figures.figure_names(suite, extent):
        if f"figures/{name}.svg" in digests:
            try:
                read_svg(root, name)
            except (EvidenceError, OSError) as error:
                yield Finding("unsafe", f"figures/{name}.svg", str(error))


def _other_drawing(root: Path, record: Record) -> str:
    """Why this machine may draw otherwise than the one of a record; empty if it draws the same."""
    here = f"{platform.system()}-{platform.machine()}"
    there = str(record.host["hardware"].get("platform"))
    if there != here:
        return f"drawn on {there}, here is {here}"
    for name in LIBRARIES:
        said, installed = record.tools.get(name) or _locked(root, name), metadata.version(name)
        if said != installed:
            return f"drawn with {name} {said or 'of an unknown version'}, here is {installed}"
    if record.code_sha256 != code_digest(Path(c2o_evidence.__file__).parent.parent, "tables"):
        return "drawn by another version of C2O"
    return ""


def _locked(root: Path, name: str) -> str | None:
    """The version of a package in `environment/lock.txt`, for records that do not name it."""
    try:
        lines = read_plain(root / "environment" / "lock.txt", MAX_TEXT).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    start = f"{name}=="
    return next((line.removeprefix(start).partition(" ")[0] for line in lines if line.startswith(start)), None)


def _compare(root: Path, drawn: Mapping[str, bytes], digests: Mapping[str, str]) -> Iterator[Finding]:
    for name, expected in drawn.items():
        path = f"figures/{name}"
        if path not in digests:
            continue  # named where the files are counted
        try:
            found = read_plain(root / path, MAX_TEXT)
        except OSError as error:
            yield Finding("malformed", path, error.strerror or str(error))
            continue
        if found != expected and not (name.endswith(".png") and same_png(expected, found)):
            yield Finding("changed", path, "is not the picture that tables and curves give")


def same_png(expected: bytes, found: bytes) -> bool:
    """Whether two PNG files differ at most in how their pixels were compressed: zlib's builds do."""
    chunks, pixels = _parts(expected)
    try:
        return _parts(found, len(pixels)) == (chunks, pixels)
    except (ValueError, zlib.error):
        return False


def _parts(data: bytes, limit: int = 0) -> tuple[list[bytes], bytes]:
    """The chunks of a PNG but for its pixels, and the pixels as they were before compression.

    Raises ValueError or zlib.error if the file is damaged, or would unpack to more than `limit` bytes (0: any).
    """
    if data[:8] != SIGNATURE:
        raise ValueError("no PNG")
    chunks, packed, place = [], [], 8
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind, body = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if end > len(data) or zlib.crc32(kind + body) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError("damaged chunk")
        if kind == b"IDAT":
            packed.append(body)
        else:
            chunks.append(kind + body)
        place = end
    stream = zlib.decompressobj()
    pixels = stream.decompress(b"".join(packed), limit)
    if not stream.eof or stream.unused_data:
        raise ValueError("pixels cut off, or more than there should be")
    return chunks, pixels
