"""A sample of a split's images, decoded in full: which are no picture, truncated, or of another size than annotated."""

from __future__ import annotations

import os
import random
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from c2o_evidence.datasets.contents import Contents, Faults
from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_PICTURE, MAX_SET_PIXELS
from c2o_evidence.plain_file import LIMITS, open_looked_at

BATCH = 256  # images in work at once
# What Pillow's decoders raise for damaged files; OSError has what cannot be read at all.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error)
_ORIENTATION = 0x0112  # EXIF: from 5 on, width and height are exchanged when the picture is shown


class Picture(NamedTuple):
    """An image file and what the annotations say of its sides in px (0: nothing)."""

    path: Path
    height: int
    width: int


def drawn(contents: Contents, folder: Path, most: int | None, seed: int, absent: frozenset[str]) -> list[Picture]:
    """`most` images (None: all) that are there, drawn by `seed`; in the order of their names."""
    there = [index for index, name in enumerate(contents.names) if name not in absent]
    if most is not None and most < len(there):
        there = random.Random(seed).sample(there, most)
    there.sort(key=contents.names.__getitem__)
    return [Picture(folder / contents.names[index], contents.heights[index], contents.widths[index]) for index in there]


def check_pictures(
    pictures: Sequence[Picture],
    *,
    start: int = 0,
    jobs: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Faults, int]:
    """Decode `pictures[start:]` in `jobs` threads (None: the cores); `progress` is called with 1 for each.

    Returns the faults, and how many of `pictures` are done: fewer than all after Ctrl-C.

    Raises:
        DataSetError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataSetError("images cannot be opened without Pillow; run `make setup`, or give --images 0") from None
    faults, done = Faults(), start
    with warnings.catch_warnings(), ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # told as a fault, by our own limit
        left: Iterator[Picture] = islice(pictures, start, None)
        try:
            while batch := list(islice(left, BATCH)):
                for fault in pool.map(picture_fault, batch):
                    done += 1
                    if fault:
                        faults.add(*fault)
                    if progress is not None:
                        progress(1)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    return faults, done


def picture_fault(picture: Picture) -> tuple[str, str] | None:
    """What is wrong with an image file (the kind of fault, and the place with its details), or None."""
    from PIL import Image, UnidentifiedImageError

    place = str(picture.path)
    try:
        descriptor, info = open_looked_at(picture.path)
        with open(descriptor, "rb") as stream:
            if info.st_size > MAX_SET_PICTURE:
                return f"has more bytes than the limit of {MAX_SET_PICTURE} ({LIMITS})", place
            with Image.open(stream) as image:
                width, height = image.size
                if width * height > MAX_SET_PIXELS:
                    return f"has more px than the limit of {MAX_SET_PIXELS} ({LIMITS})", place
                if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
                    width, height = height, width
                if picture.height and (height, width) != (picture.height, picture.width):
                    details = f"{place}: {height} x {width} px, annotated {picture.height} x {picture.width}"
                    return "has another size (height x width) than its annotation says", details
                image.load()
    except FileNotFoundError:
        return "is missing", place
    except UnidentifiedImageError:
        return "is no picture", place
    except Image.DecompressionBombError:
        return f"has more px than the limit of {MAX_SET_PIXELS} ({LIMITS})", place
    except DAMAGED as error:
        return "cannot be decoded", f"{place}: {str(error)[:100]}"
    return None
