"""What a checkpoint says about itself: the metadata in the header of a `.safetensors` file.

Only the JSON header is read; no tensor is loaded and nothing can be executed. Every size is checked against
the file first.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

from c2o_evidence.errors import DigestError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_CHECKPOINT_HEADER
from c2o_evidence.plain_file import LIMITS, open_plain

MAX_COUNT = 1 << 62  # of values of a tensor
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
BYTES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a checkpoint; empty if it has none.

    Raises:
        DigestError: the file is not a safetensors file, is cut off, or declares tensors that it cannot hold.
    """
    return _read_header(path)[0]


def weights_digest(path: Path | str) -> str:
    """SHA-256 of the tensors alone: names, types, shapes, places and all bytes behind the header, not the metadata.

    Raises:
        DigestError: as `read_metadata`.
    """
    _, tensors, start = _read_header(path)
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    with open(open_plain(path), "rb") as stream:
        stream.seek(start)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_header(path: Path | str) -> tuple[dict[str, str], dict[str, Any], int]:
    """The metadata, the checked entries of the tensors, and where their bytes begin."""
    try:
        with open(open_plain(path), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= size - 8:
                raise DigestError(f"{path}: is not a safetensors file, or is cut off; restore it")
            if length > MAX_CHECKPOINT_HEADER:
                what = f"has a header of {length} bytes, more than the limit of {MAX_CHECKPOINT_HEADER} ({LIMITS})"
                raise DigestError(f"{path}: {what}")
            header = parse_json(stream.read(length))
    except OSError as error:
        raise DigestError(f"{path}: cannot be read: {error.strerror}; restore it") from error
    except ValueError:
        raise DigestError(f"{path}: its header is damaged; restore it") from None
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DigestError(f"{path}: its metadata is not a mapping of texts; restore it")
    spans = sorted(_span(path, name, entry) for name, entry in header.items())
    for (_, end, _), (begin, _, name) in pairwise([(0, 0, ""), *spans]):
        if begin != end:
            raise DigestError(f"{path}: {name[:100]!r} lies at {begin} instead of {end}; restore it")
    if 8 + length + (spans[-1][1] if spans else 0) != size:
        raise DigestError(f"{path}: its tensors do not fill its {size} bytes; it is cut off or appended to, restore it")
    return metadata, header, 8 + length


def _span(path: Path | str, name: str, entry: Any) -> tuple[int, int, str]:
    """Where a tensor begins and ends, and its name; DigestError if its entry contradicts itself."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(dtype, str) and dtype in BYTES and _counts(shape) and _counts(offsets) and len(offsets) == 2):
        raise DigestError(f"{path}: {name[:100]!r}: its entry is malformed; restore it")
    count = BYTES[dtype]
    for side in shape:
        count *= side
        if count > MAX_COUNT:
            break
    if offsets[1] - offsets[0] != count:
        raise DigestError(f"{path}: {name[:100]!r}: data_offsets do not fit its dtype and shape; restore it")
    return offsets[0], offsets[1], name


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MAX_COUNT for item in value)
