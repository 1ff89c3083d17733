"""What a checkpoint says about itself: the metadata in the header of a `.safetensors` file.

Only the JSON header is read; no tensor is loaded and nothing can be executed. Every size is checked against
the file first.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from c2o_evidence.errors import DigestError

MAX_HEADER = 100 << 20  # bytes; the limit of the safetensors format


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a checkpoint; empty if it has none.

    Raises:
        DigestError: the file is not a safetensors file, or is cut off.
    """
    return _metadata(path, _read_header(path)[0])


def weights_digest(path: Path | str) -> str:
    """SHA-256 of the tensors alone: names, types, shapes, places and all bytes behind the header, not the metadata.

    Raises:
        DigestError: as `read_metadata`.
    """
    header, start = _read_header(path)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    with open(path, "rb") as stream:
        stream.seek(start)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_header(path: Path | str) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise DigestError(f"{path}: is not a safetensors file, or is cut off; restore it")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise DigestError(f"{path}: cannot be read: {error.strerror}; restore it") from error
    except (ValueError, RecursionError):
        raise DigestError(f"{path}: its header is damaged; restore it") from None
    if not isinstance(header, dict):
        raise DigestError(f"{path}: its metadata is not a mapping of texts; restore it")
    return header, 8 + length


def _metadata(path: Path | str, header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DigestError(f"{path}: its metadata is not a mapping of texts; restore it")
    return metadata
