"""Pictures as PNG: a plain PNG as it is, byte by byte; anything else written anew, upright, in RGB, not too large.

A plain one holds pixels alone: a page shows no PNG with texts or profiles in it (c2o_evidence.gallery).
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from c2o_model.data.coco import CocoSplit
from c2o_model.data.images import decode

LONGEST = 1024  # px, of a picture that is shown: larger ones are scaled down
ORIENTATION = 0x0112  # EXIF
MORE = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP")  # chunks of a PNG beside its pixels


def shown_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of a picture as it is shown: its longer side is LONGEST px at most."""
    scale = min(1.0, LONGEST / max(width, height))
    return max(int(width * scale + 0.5), 1), max(int(height * scale + 0.5), 1)


def png_of(split: CocoSplit, index: int) -> bytes:
    """Picture ``index`` of the split as a PNG. Raises DataError as `decode`."""
    path = split.image_path(index)
    pixels = decode(split, index)  # also checks that it is whole
    height, width = (int(side) for side in split.sizes[index])
    with Image.open(path) as image:
        plain = image.format == "PNG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
    if plain and max(height, width) <= LONGEST and _pixels_alone(content := path.read_bytes()):
        return content
    shown = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    shown = shown.resize(shown_size(width, height), Image.Resampling.LANCZOS) if max(height, width) > LONGEST else shown
    stream = BytesIO()
    shown.save(stream, "PNG")
    return stream.getvalue()


def _pixels_alone(png: bytes) -> bool:
    """Whether a PNG that was decoded has none of MORE, and nothing behind its end."""
    place, kind = 8, b""
    while place < len(png) and kind != b"IEND":
        size, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        if kind in MORE:
            return False
        place += 12 + size
    return kind == b"IEND" and place == len(png)
