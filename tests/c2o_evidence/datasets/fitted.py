"""Fabricated copies of every set, and what the table would say if they were the published ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from c2o_evidence.datasets.kinds import DataSet, Split
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.outcome import Outcome
from tests import fabricated_sets

BUILD: dict[str, Callable[[Path], object]] = {
    "coco": fabricated_sets.coco,
    "lvis_v1": fabricated_sets.lvis,
    "voc_2007": lambda root: fabricated_sets.voc(root, "2007"),
    "voc_2012": lambda root: fabricated_sets.voc(root, "2012"),
    "crowdhuman": fabricated_sets.crowdhuman,
    "objects365": fabricated_sets.objects365,
    "repro10k": fabricated_sets.repro10k,
}


def counted(split: Split, root: Path) -> tuple[int, int, int]:
    """(images, boxes, boxes that are not marked) of a split, by reading its files whole."""
    data = (root / split.annotation).read_text("utf-8")
    if split.format == "voc":
        names = data.split()
        files = [root / split.more[0] / f"{name}.xml" for name in names]
        objects = [item for file in files for item in ElementTree.parse(file).iter("object")]
        return len(names), len(objects), sum(item.findtext("difficult") == "0" for item in objects)
    if split.format == "odgt":
        lines = [json.loads(line) for line in data.splitlines()]
        boxes = [box for line in lines for box in line["gtboxes"]]
        plain = [box for box in boxes if box["tag"] == "person" and not box["extra"].get("ignore")]
        return len(lines), len(boxes), len(plain)
    document = json.loads(data)
    boxes = document["annotations"]
    return len(document["images"]), len(boxes), sum(not box.get("iscrowd") for box in boxes)


def fitted(name: str, root: Path) -> DataSet:
    """The set `name` as the table would have it if the copy below `root` were the published one."""
    splits = []
    for split in DATASETS[name].splits:
        images, boxes, plain = counted(split, root)
        content = (root / split.annotation).read_bytes()
        splits.append(
            replace(
                split,
                image_count=images,
                boxes=None if split.boxes is None else boxes,
                plain_boxes=None if split.plain_boxes is None else plain,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return replace(DATASETS[name], splits=tuple(splits))


@contextmanager
def quiet(name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


def told(outcome: Outcome, level: str = "fault") -> list[str]:
    """The texts of all lines of a level."""
    return [line.text for split in outcome.splits for line in split.lines if line.level == level]
