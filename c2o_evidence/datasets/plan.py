"""What a data set takes: downloads, disk, times, what goes where, and which configurations use it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2o_evidence.datasets.cost import estimate
from c2o_evidence.datasets.kinds import Archive, DataSet
from c2o_evidence.progress import format_duration, format_size

RATES = (10, 100, 1000)  # Mbit/s
CONFIGS = 1 << 20  # bytes of a configuration that are searched for names
BASES = re.compile(rb"^_BASE_: *\[?([^\]#\r\n]+)", re.MULTILINE)
DEPTH = 8  # of configurations based on others
UNKNOWN = "size not known"


@dataclass(frozen=True)
class Disk:
    """Bytes; None where a size is not known. `whole` is false where a part is not known, so that a sum is too small."""

    archives: int
    unpacked: int
    converted: int | None
    copy: int
    whole: bool


def disk(dataset: DataSet) -> Disk:
    """Archives, what they unpack to, the JSON of all splits converted at use, and a copy by `kind: named`."""
    whole = all(archive.size is not None and archive.unpacked is not None for archive in dataset.archives)
    archives = sum(archive.size or 0 for archive in dataset.archives)
    unpacked = sum(archive.unpacked or 0 for archive in dataset.archives)
    sizes = [None if (cost := estimate(split)) is None else cost.converted for split in dataset.splits]
    converted = None if None in sizes else sum(filter(None, sizes))
    return Disk(archives, unpacked, converted, round(unpacked * dataset.share) + (converted or 0), whole)


def document(dataset: DataSet, checkout: Path) -> dict[str, Any]:
    """What `--json` prints."""
    costs = {split.name: estimate(split) for split in dataset.splits}
    return {
        "name": dataset.name,
        "title": dataset.title,
        "site": dataset.site,
        "terms": dataset.terms,
        "archives": [asdict(archive) for archive in dataset.archives],
        "disk": asdict(disk(dataset)),
        "splits": [
            {
                "name": split.name,
                "annotation": split.annotation,
                "images_in": split.images,
                "images": split.image_count,
                "boxes": split.boxes,
                "plain_boxes": split.plain_boxes,
                "classes": split.classes,
                "sha256": split.sha256,
                "estimate": None if (cost := costs[split.name]) is None else asdict(cost),
            }
            for split in dataset.splits
        ],
        "remarks": list(dataset.remarks),
        "configurations": using(dataset, checkout),
    }


def as_json(dataset: DataSet, checkout: Path) -> str:
    return json.dumps(document(dataset, checkout), indent=2)


def text(dataset: DataSet, checkout: Path) -> str:
    """The same for a reader."""
    parts = [
        [f"{dataset.title} (publisher: {dataset.site})", f"terms: {dataset.terms}"],
        _downloads(dataset),
        _disk(dataset),
        _times(dataset),
        ["put where ($DETECTRON2_DATASETS)", *tree(dataset)],
        [f"note: {remark}" for remark in dataset.remarks],
        _use(dataset, checkout),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _downloads(dataset: DataSet) -> list[str]:
    width = max(len(archive.name) for archive in dataset.archives)
    lines = ["download"]
    for archive in dataset.archives:
        size = UNKNOWN if archive.size is None else format_size(archive.size)
        files = f"{archive.files} files, " if archive.files > 1 else ""
        gives = "is" if archive.name == archive.gives.rpartition("/")[2] else "gives"
        lines.append(f"  {archive.name:<{width}}  {size:>14}  {files}{gives} {archive.gives}")
        lines += [f"  {'':<{width}}  sha256 {archive.sha256}"] if archive.sha256 else []
    total = sum(archive.size or 0 for archive in dataset.archives)
    times = ", ".join(f"{format_duration(total * 8 / (rate * 1e6))} at {rate} Mbit/s" for rate in RATES)
    return [*lines, f"  {_least(dataset)}{format_size(total)} in all: {times}"]


def _disk(dataset: DataSet) -> list[str]:
    need = disk(dataset)
    least = _least(dataset)
    converted = "not known" if need.converted is None else f"{format_size(need.converted)} (estimated; can be deleted)"
    lines = [
        "disk",
        f"  archives                        {least}{format_size(need.archives)} (not needed once unpacked)",
        f"  unpacked                        {least}{format_size(need.unpacked)}",
        f"  converted at use                {converted}",
        f"  data/NAME of a suite            {least}{format_size(need.copy)} for all splits, a copy (`kind: named`)",
    ]
    if all(split.format == "coco" for split in dataset.splits):
        lines[3] = "  converted at use                nothing"
    if dataset.needs:
        lines.append(f"  of this {dataset.needs} has the images already, where it is there")
    return lines


def _times(dataset: DataSet) -> list[str]:
    lines = ["time and memory of one core, estimated for pictures of 640 x 480 px (docs/datasets.md)"]
    for split in dataset.splits:
        cost = estimate(split)
        if cost is None:
            lines.append(f"  {split.name}: not estimated, its number of boxes is not public")
            continue
        lines.append(
            f"  {split.name}: check {format_duration(cost.check_s)}, load for training {format_duration(cost.load_s)}"
            f" with {format_size(cost.load_bytes)} of memory, every picture decoded {format_duration(cost.decode_s)},"
            f" copied by `kind: named` {format_duration(cost.copy_s * dataset.share)}"
        )
    return lines


def tree(dataset: DataSet) -> list[str]:
    """Where everything goes, as a tree; `what it is from` beside each leaf."""
    leaves: dict[str, dict[str, None]] = {}
    for split in dataset.splits:
        leaves.setdefault(split.annotation, {})[split.annotation_from] = None
        for path in split.more:
            leaves.setdefault(f"{path}/", {})[split.annotation_from] = None
        if split.format == "lvis":
            leaves |= {f"coco/{name}2017/": {f"{name}2017.zip": None} for name in ("train", "val")}
        else:
            leaves.setdefault(f"{split.images}/", {})[split.images_from] = None
    lines: list[str] = []
    shown: set[str] = set()
    for path, sources in sorted(leaves.items()):
        parts = path.rstrip("/").split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in shown:
                shown.add(folder)
                lines.append(f"{'  ' * depth}{parts[depth - 1]}/")
        name = "  " * len(parts) + parts[-1] + ("/" if path.endswith("/") else "")
        lines.append(f"{name:<44}  {' and '.join(sources)}")
    return lines


def _use(dataset: DataSet, checkout: Path) -> list[str]:
    lines = ["names for DATASETS.TRAIN, DATASETS.TEST and `kind: named`"]
    for split in dataset.splits:
        boxes = split.boxes if split.boxes is not None else split.plain_boxes
        numbers = [
            f"{split.image_count} images" if split.image_count else "images not stated",
            f"{boxes} boxes{'' if split.boxes else ' that are not difficult'}" if boxes else "boxes not stated",
            f"{3 if split.format == 'repro10k' else split.classes} classes",
        ]
        if split.format == "repro10k":
            numbers[:2] = ["10000 images" if split.name.endswith("train") else "images not stated", "boxes not stated"]
        lines.append(f"  {split.name:<20} {', '.join(numbers)}")
    found = [f"  {path}" for path in using(dataset, checkout)]
    lines += ["configurations that use them (docs/recipes.md)", *(found or ["  none in configs/ yet"])]
    return [*lines, f"next: `c2o data check {dataset.name}`"]


def using(dataset: DataSet, checkout: Path) -> list[str]:
    """Configurations of the checkout that have the name of a split in them, or take it over from their `_BASE_`."""
    names = [split.name.encode() for split in dataset.splits]
    found = [
        os.path.relpath(path, checkout)
        for path in sorted((checkout / "configs").rglob("*.yaml"))
        if path.stem != "base" and any(name in content for content in _deciding(path) for name in names)
    ]
    return found


def _deciding(path: Path, depth: int = 0) -> list[bytes]:
    """The files that decide which sets a configuration uses: itself, or where it names none, what it is based on."""
    try:
        with path.open("rb") as stream:
            content = stream.read(CONFIGS)
    except OSError:
        return []
    bases = BASES.search(content)
    if bases is None or depth > DEPTH or re.search(rb"^DATASETS:", content, re.MULTILINE):
        return [content]
    others = (path.parent / name.strip() for name in os.fsdecode(bases[1]).split(","))
    return [text for other in others for text in _deciding(other, depth + 1)]


def _least(dataset: DataSet) -> str:
    """ "at least " where a size is not known that is not part of another's."""
    unknown = [archive for archive in dataset.archives if archive.size is None and not _within(archive, dataset)]
    return "at least " if unknown else ""


def _within(archive: Archive, dataset: DataSet) -> bool:
    """Whether another entry's size is that of all archives together."""
    return any(other.files > 1 and other.size is not None for other in dataset.archives if other is not archive)
