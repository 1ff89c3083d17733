"""What is known of a data set: its splits, the archives it comes in, and where everything goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["coco", "lvis", "objects365", "repro10k", "voc", "odgt"]
"""How a split's annotations are read. `repro10k` is a COCO JSON of which a part is drawn."""


@dataclass(frozen=True)
class Archive:
    """A file as its publisher names it.

    `size` in bytes, of all `files` together (None: not known); `gives`: what lies where once it is unpacked, below
    $DETECTRON2_DATASETS; `unpacked`: bytes of that.
    """

    name: str
    gives: str
    size: int | None = None
    unpacked: int | None = None
    sha256: str = ""
    files: int = 1


@dataclass(frozen=True)
class Split:
    """One name of `DATASETS.TRAIN`. Paths are relative to $DETECTRON2_DATASETS; None and "": not known, not checked.

    `boxes` counts all, `plain_boxes` all but those that are not trained on or scored as others are (crowds, ignored,
    difficult). `certain`: the digest is stated by more than one public source, so that another one is a fault.
    """

    name: str
    format: Format
    annotation: str
    images: str
    classes: int
    image_count: int | None = None
    boxes: int | None = None
    plain_boxes: int | None = None
    more: tuple[str, ...] = ()  # other directories that it needs
    size: int | None = None  # of the annotation file
    sha256: str = ""
    certain: bool = True
    annotation_from: str = ""  # the archive that gives it
    images_from: str = ""
    alone: bool = False  # nothing but its images lies in its image directories
    never_published: frozenset[str] = frozenset()  # images that the annotations name and no archive has


@dataclass(frozen=True)
class DataSet:
    """A family of splits, by the name that `c2o data` takes."""

    name: str
    title: str
    site: str
    terms: str
    splits: tuple[Split, ...]
    archives: tuple[Archive, ...] = ()
    needs: str = ""  # the family whose images it uses
    remarks: tuple[str, ...] = ()
    share: float = 1.0  # of the images, at most, that are used

    def paths(self) -> tuple[str, ...]:
        """Every file and directory that must be there, each once, in the order of the splits."""
        found = (path for split in self.splits for path in (split.annotation, split.images, *split.more))
        return tuple(dict.fromkeys(found))
