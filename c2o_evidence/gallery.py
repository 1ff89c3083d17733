"""Reading a gallery, which others may have made: `gallery.json` by its schema, its pictures as PNG and no more."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_GALLERY, MAX_GALLERY_PICTURE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.schemas import key_text, schema_faults

GALLERY = "gallery/gallery.json"
SHOWN = 1024  # px, the longer side of a picture, as c2o_model/gallery/pictures.py writes them
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP")


def read_gallery(base: Path) -> dict[str, Any]:
    """The document of `BASE/gallery/gallery.json` (BASE: a bundle or results/SUITE); its schema holds, lists fit.

    Raises:
        EvidenceError: it cannot be read, or is no gallery.
    """
    path = base / GALLERY
    try:
        document = parse_json(read_plain(path, MAX_GALLERY), most=MAX_GALLERY // 4)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; restore the file") from error
    except ValueError as error:
        raise EvidenceError(f"{path}: is not JSON: {error}; restore the file") from None
    if faults := schema_faults(document, "gallery"):
        raise EvidenceError(f"{path}: {key_text(faults[0].where)}: {faults[0].what}")
    if fault := _unequal_lists(document):
        raise EvidenceError(f"{path}: {fault}; restore the file")
    result: dict[str, Any] = document
    return result


def _unequal_lists(document: dict[str, Any]) -> str:
    """What a schema cannot say: boxes, scores and classes belong together, edges lead to nodes."""
    for number, step in enumerate(document["filmstrip"]["steps"]):
        if not len(step["boxes"]) == len(step["scores"]) == len(step["classes"]):
            return f"filmstrip.steps[{number}]: has not as many boxes as scores and classes"
    attention = document["attention"]
    if attention is None:
        return ""
    count = len(attention["nodes"])
    if not count == len(attention["scores"]) == len(attention["classes"]):
        return "attention: has not as many nodes as scores and classes"
    for number, (i, j, _) in enumerate(attention["edges"]):
        if max(i, j) >= count or i == j:
            return f"attention.edges[{number}]: does not lead from one of the {count} nodes to another"
    return ""


def shown_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the file of a picture of this size: the longer side is SHOWN px at most."""
    scale = min(1.0, SHOWN / max(width, height))
    return max(int(width * scale + 0.5), 1), max(int(height * scale + 0.5), 1)


def read_picture(path: Path, width: int, height: int) -> bytes:
    """The bytes of a picture of a gallery: a PNG of that size (as `shown_size` has it), whole, with nothing but pixels.

    Raises:
        EvidenceError: it is something else; a page must not show it.
    """
    try:
        data = read_plain(path, MAX_GALLERY_PICTURE)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; restore the file") from error
    if fault := _png_fault(data, *shown_size(width, height)):
        raise EvidenceError(f"{path}: {fault}; restore the file")
    return data


def _png_fault(data: bytes, width: int, height: int) -> str:
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        return "is no PNG"
    found = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if found != (width, height):
        return f"has {found[0]} x {found[1]} px, not {width} x {height}"
    packed, place, last = [], 8, b""
    while place < len(data) and last != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        last, body = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if end > len(data) or zlib.crc32(last + body) != int.from_bytes(data[end - 4 : end], "big"):
            return "is damaged"
        if last in TEXTS:
            return f"holds more than pixels ({last.decode()})"
        packed += [body] if last == b"IDAT" else []
        place = end
    if last != b"IEND" or place != len(data):
        return "is cut off, or something follows it"
    stream = zlib.decompressobj()
    try:
        stream.decompress(
            b"".join(packed), most := (8 * width + 1) * height
        )  # 16 bits of four channels, a filter a row
    except zlib.error:
        return "is damaged"
    return "" if stream.eof and not stream.unused_data else f"unpacks to more than {most} bytes, or is cut off"
