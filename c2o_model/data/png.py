"""A PNG writer whose bytes depend on the pixels alone.

Deflate leaves the compressor free to choose, so zlib, zlib-ng and Pillow's bundled copies write
different files for the same image. Stored (uncompressed) deflate blocks leave no choice.
Formats: PNG (ISO/IEC 15948), zlib (RFC 1950), deflate stored blocks (RFC 1951, 3.2.4).
"""

from __future__ import annotations

import struct
import zlib  # checksums only: CRC-32 and Adler-32 are fully specified

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
STORED_LIMIT = 0xFFFF  # longest stored deflate block


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _stored_zlib(raw: bytes) -> bytes:
    """`raw` as a zlib stream of stored blocks."""
    parts = [b"\x78\x01"]  # deflate, 32 KiB window, no dictionary, fastest
    for start in range(0, len(raw), STORED_LIMIT):
        block = raw[start : start + STORED_LIMIT]
        last = start + STORED_LIMIT >= len(raw)
        parts.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF))
        parts.append(block)
    parts.append(struct.pack(">I", zlib.adler32(raw)))
    return b"".join(parts)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """`image` (uint8 [H, W, 3], RGB, H and W >= 1) as the bytes of an 8-bit PNG, without metadata.

    Raises ValueError for another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"encode_png needs uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a leading 0 = filter type None
    rows[:, 1:] = image.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bit, colour type 2 = RGB
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", _stored_zlib(rows.tobytes())),
            _chunk(b"IEND", b""),
        )
    )
