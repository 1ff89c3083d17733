"""What an annotation file says, as far as a check needs it, and the faults that were met in it."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_IMAGES
from c2o_evidence.plain_file import LIMITS

SHOWN = 5  # faults of one kind that are told one by one
LARGEST_SIDE = 1_000_000  # px
LARGEST_BOX = 1e15  # px; what is larger, or no number, is no measure of a picture


@dataclass
class Faults:
    """Faults by what is wrong: how many, and where the first ones are."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, place: str) -> None:
        """`what`: a sentence without subject, the same for all faults of a kind; `place`: file, and where in it."""
        self.counts[what] = self.counts.get(what, 0) + 1
        shown = self.places.setdefault(what, [])
        if len(shown) < SHOWN:
            shown.append(place)


@dataclass
class Contents:
    """The images of a split and the number of its boxes. Heights and widths in px, 0 where the file says none."""

    path: Path
    names: list[str] = field(default_factory=list)  # of image files, relative to the split's image directory
    heights: array[int] = field(default_factory=lambda: array("I"))
    widths: array[int] = field(default_factory=lambda: array("I"))
    boxes: int = 0
    marked: int = 0  # of them: crowds, ignored or difficult
    empty: int = 0  # of them: without area
    classes: int = 0
    candidates: int | None = None  # Repro-10k: images that are drawn from
    size: int = 0
    sha256: str = ""
    faults: Faults = field(default_factory=Faults)

    def image(self, name: str, height: int, width: int) -> None:
        """Take an image. Raises DataSetError when there are too many."""
        if len(self.names) >= MAX_SET_IMAGES:
            raise DataSetError(f"{self.path}: has more than the limit of {MAX_SET_IMAGES} images ({LIMITS})")
        self.names.append(name)
        self.heights.append(height)
        self.widths.append(width)

    def fault(self, what: str, place: str) -> None:
        """As `Faults.add`, with a place in the annotation file."""
        self.faults.add(what, f"{self.path}: {place}")


def safe_name(name: str) -> bool:
    """Whether a file name from an annotation file can be one of a file inside the image directory."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # half a character
        return False
    return not (name.startswith("/") or "\0" in name or ".." in PurePosixPath(name).parts or not name.strip("/."))


def is_side(value: object) -> bool:
    """Whether a value is the side of a picture in px."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE


def box_sides(value: object) -> tuple[float, float] | None:
    """Width and height of a box [x, y, width, height]; None if it is none."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    for number in value:
        if type(number) not in (int, float) or not abs(number) < LARGEST_BOX:
            return None
    return value[2], value[3]


LAST_TWO = {
    "lvis": re.compile(r"(?:^|/)((?:train|val|test)2017/[\w.-]+)$"),
    "objects365": re.compile(r"(?:^|/)(patch\d+/[\w.-]+)$"),
}
"""What of an image's path counts, by format: the directory and the file."""
