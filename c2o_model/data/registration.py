"""Data sets by name, for Detectron2's catalogs and for our own loader.

* ``c2o_digits_{train,holdout,val}``: the embedded set, from `data/digits`. * COCO under Detectron2's own names
(``coco_2017_train`` …), below $DETECTRON2_DATASETS (default `datasets`), which Detectron2 reads when it is imported.
* VOC and LVIS under Detectron2's names (``voc_2007_test``, ``lvis_v1_val`` …), CrowdHuman, Objects365 and Repro-10k
(``crowdhuman_train`` …): see `public_sets`. * Any COCO-format set through
EXTRA_COCO_DATASETS="name:json:image_root[;name:json:image_root …]". Where the files of each go: docs/datasets.md.

Detectron2 is imported inside the functions: importing it takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.data.coco import CocoSplit, load_manifest_split, load_split
from c2o_model.data.digits_config import SPLITS
from c2o_model.data.errors import DataError
from c2o_model.data.repeat import parse_name, repeat_rare
from c2o_model.data.public_sets import CONVERTED, PUBLIC, ROOT, datasets_root, load_public

EXTRA = "EXTRA_COCO_DATASETS"
DIGITS_ROOT = Path("data/digits")

# Public sets that Detectron2 enters into its catalogs itself: those entries stay, our loader and `dataset_dicts` do not
# use them (Detectron2 reads LVIS with a package that is not required here).
_DETECTRON2_HAS = frozenset(name for name in PUBLIC if name.startswith(("voc_", "lvis_")))


@dataclass(frozen=True)
class JsonDataset:
    """A set that is one COCO JSON and a directory of images."""

    name: str
    json: Path
    image_root: Path

    def load(self) -> CocoSplit:
        """Read it; DataError as `coco.load_split`."""
        return load_split(self.json, self.image_root)


def parse_extra(value: str) -> tuple[JsonDataset, ...]:
    """The sets named by the value of EXTRA_COCO_DATASETS; DataError if one is malformed or repeated."""
    found: dict[str, JsonDataset] = {}
    for entry in filter(None, (part.strip() for part in value.split(";"))):
        fields = [field.strip() for field in entry.split(":")]
        if len(fields) != 3 or not all(fields):
            raise DataError(EXTRA, f"{entry!r} is not name:json:image_root", "separate entries by ';'")
        name, json, image_root = fields
        if name in found:
            raise DataError(EXTRA, f"{name} is listed twice", "give each set its own name")
        found[name] = JsonDataset(name, Path(json), Path(image_root))
    return tuple(found.values())


def to_dicts(split: CocoSplit) -> list[dict[str, Any]]:
    """`split` as Detectron2's dataset dicts (XYXY_ABS boxes, contiguous category ids)."""
    from detectron2.structures import BoxMode

    return [
        {
            "file_name": str(split.image_path(index)),
            "image_id": split.image_ids[index],
            "height": int(split.sizes[index, 0]),
            "width": int(split.sizes[index, 1]),
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0}
                for box, label in zip(split.boxes[index].tolist(), split.labels[index].tolist(), strict=True)
            ],
        }
        for index in range(len(split))
    ]


def _loaders(
    environ: Mapping[str, str], digits_root: Path, converted: Path = CONVERTED
) -> dict[str, Callable[[], CocoSplit]]:
    """The names that we load ourselves, and how."""

    def digits(split: str) -> Callable[[], CocoSplit]:
        return lambda: load_manifest_split(digits_root, split)

    def public(name: str) -> Callable[[], CocoSplit]:
        return lambda: load_public(name, datasets_root(environ), converted)

    loaders = {f"c2o_digits_{split}": digits(split) for split in SPLITS}
    loaders |= {name: public(name) for name in PUBLIC}
    for extra in parse_extra(environ.get(EXTRA, "")):
        if extra.name in PUBLIC:
            raise DataError(EXTRA, f"{extra.name} is the name of another registered set", "choose another name")
        if extra.name in loaders:
            raise DataError(EXTRA, f"{extra.name} is the name of an embedded set", "choose another name")
        loaders[extra.name] = extra.load
    return loaders


def register(environ: Mapping[str, str] | None = None, digits_root: Path = DIGITS_ROOT) -> tuple[str, ...]:
    """Enter our names into Detectron2's catalogs, anew if they are there; returns them sorted.

    Nothing is read until a set is asked for. Raises DataError for a bad EXTRA_COCO_DATASETS or a name in it
    that belongs to another set.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    loaders = _loaders(os.environ if environ is None else environ, digits_root)
    loaders = {name: load for name, load in loaders.items() if name not in _DETECTRON2_HAS}
    taken = {name for name in loaders if name in DatasetCatalog.list()}
    for name in taken:
        if not MetadataCatalog.get(name).get("c2o", False):
            raise DataError(EXTRA, f"{name} is the name of another registered set", "choose another name")
    for name in taken:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in loaders:
        MetadataCatalog.get(name).set(c2o=True, evaluator_type="coco")

    def dicts_of(name: str) -> Callable[[], list[dict[str, Any]]]:
        def load() -> list[dict[str, Any]]:
            split = loaders[name]()
            MetadataCatalog.get(name).set(
                json_file=str(split.annotation),
                image_root=str(split.image_root),
                thing_classes=list(split.class_names),
                thing_dataset_id_to_contiguous_id={
                    key: label for label, key in enumerate(split.category_ids)
                },
            )
            return to_dicts(split)

        return load

    for name in loaders:
        DatasetCatalog.register(name, dicts_of(name))
    return tuple(sorted(loaders))


def _known(name: str) -> Any:
    """Detectron2's metadata of a registered set whose files are there."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    if name not in DatasetCatalog.list():
        have = ", ".join(key for key in sorted(DatasetCatalog.list()) if "_" in key and "panoptic" not in key)
        raise DataError(name, "is not the name of a data set", f"use one of {have}, or name yours in {EXTRA}")
    metadata = MetadataCatalog.get(name)
    for key in () if metadata.get("c2o", False) else ("json_file", "image_root", "dirname"):
        path = metadata.get(key, None)
        if path is not None and not os.path.exists(path):
            raise DataError(
                path,
                f"is missing, {name} needs it",
                f"put it there as docs/datasets.md shows, or set {ROOT} to where it is",
            )
    return metadata


def dataset_dicts(name: str) -> list[dict[str, Any]]:
    """Detectron2's dicts of a registered set; DataError if it is unknown or lacks a file (says which)."""
    from detectron2.data import DatasetCatalog

    if name in PUBLIC:
        return to_dicts(named_split(name))
    _known(name)
    dicts: list[dict[str, Any]] = DatasetCatalog.get(name)
    return dicts


def named_split(
    name: str,
    environ: Mapping[str, str] | None = None,
    digits_root: Path = DIGITS_ROOT,
    converted: Path = CONVERTED,
) -> CocoSplit:
    """A set by name, for our own loader: embedded, extra, public, or one of Detectron2's that is a COCO JSON.

    ``converted`` is where the COCO JSON of a public set in another format is written. Raises DataError as
    `dataset_dicts`, and for sets that Detectron2 knows in formats with no converter here. `NAME@repeat=t` is set
    NAME with images of rare classes repeated.
    """
    name, threshold = parse_name(name)
    if threshold is not None:
        return repeat_rare(named_split(name, environ, digits_root, converted), threshold)
    loaders = _loaders(os.environ if environ is None else environ, digits_root, converted)
    if name in loaders:
        return loaders[name]()
    register(environ, digits_root)
    metadata = _known(name)
    if metadata.evaluator_type != "coco":
        raise DataError(name, "is not in COCO format and has no converter", f"name a COCO JSON of it in {EXTRA}")
    return load_split(metadata.json_file, metadata.image_root)
