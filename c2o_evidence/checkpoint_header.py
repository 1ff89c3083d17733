"""What a checkpoint says about itself: the metadata in the header of a `.safetensors` file.

Only the JSON header is read; no tensor is loaded and nothing can be executed. Every size is checked against
the file first.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from c2o_evidence.errors import DigestError

MAX_HEADER = 100 << 20  # bytes; the limit of the safetensors format


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a checkpoint; empty if it has none.

    Raises:
        DigestError: the file is not a safetensors file, or is cut off.
    """
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
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DigestError(f"{path}: its metadata is not a mapping of texts; restore it")
    return metadata
