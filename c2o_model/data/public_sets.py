"""The public data sets that are not COCO files as they come: where each lies and how it is read.

Every set is converted, each time it is loaded, to a COCO document, which is written to ``data/converted`` under a name
with its digest and read from there by `coco.load_split` as any other: the same checks, and a file to evaluate against.
Those files can be deleted at any time. The layout below $DETECTRON2_DATASETS is Detectron2's where it has the set; see
docs/datasets.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.data.crowdhuman import crowdhuman_document
from c2o_model.data.errors import DataError
from c2o_model.data.lvis import lvis_document
from c2o_model.data.objects365 import objects365_document
from c2o_model.data.repro10k import repro10k_document
from c2o_model.data.voc import read_names, voc_document

ROOT = "DETECTRON2_DATASETS"
CONVERTED = Path("data/converted")

# PASCAL VOC's twenty classes, in the order of its papers and of Detectron2.
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass(frozen=True)
class PublicSet:
    """Where a set lies below $DETECTRON2_DATASETS, and its converter (annotation file, image directory) -> COCO."""

    put: str  # what is to be put where, for the user; {root} stands for the variable
    annotation: str
    images: str
    document: Callable[[Path, Path], dict[str, Any]]
    more: tuple[str, ...] = ()  # other directories that it needs


def _voc_document(annotation: Path, images: Path) -> dict[str, Any]:
    root = images.parent
    return voc_document(root, read_names(root, annotation.stem), VOC_CLASSES)


def _table() -> dict[str, PublicSet]:
    found = {}
    for year, lists in (("2007", ("trainval", "train", "val", "test")), ("2012", ("trainval", "train", "val"))):
        top = f"VOC{year}"
        put = f"the directory {top} of PASCAL's VOCdevkit at {{root}}/{top}"
        for name in lists:
            place, folder = f"{top}/ImageSets/Main/{name}.txt", f"{top}/JPEGImages"
            found[f"voc_{year}_{name}"] = PublicSet(put, place, folder, _voc_document, (f"{top}/Annotations",))
    for split in ("train", "val"):
        found[f"lvis_v1_{split}"] = PublicSet(
            f"lvis_v1_{split}.json of LVIS v1 at {{root}}/lvis, COCO's train2017 and val2017 at {{root}}/coco",
            f"lvis/lvis_v1_{split}.json",
            "coco",
            lvis_document,
        )
        found[f"crowdhuman_{split}"] = PublicSet(
            f"CrowdHuman's annotation_{split}.odgt at {{root}}/crowdhuman, its images at {{root}}/crowdhuman/Images",
            f"crowdhuman/annotation_{split}.odgt",
            "crowdhuman/Images",
            crowdhuman_document,
        )
        found[f"objects365_{split}"] = PublicSet(
            f"zhiyuan_objv2_{split}.json of Objects365 v2 at {{root}}/objects365/annotations, the unpacked patches at"
            f" {{root}}/objects365/{split}",
            f"objects365/annotations/zhiyuan_objv2_{split}.json",
            f"objects365/{split}",
            objects365_document,
        )
        found[f"repro10k_{split}"] = PublicSet(
            f"COCO's instances_{split}2017.json at {{root}}/coco/annotations, its images at {{root}}/coco/{split}2017",
            f"coco/annotations/instances_{split}2017.json",
            f"coco/{split}2017",
            repro10k_document,
        )
    return found


PUBLIC: Mapping[str, PublicSet] = _table()


def datasets_root(environ: Mapping[str, str]) -> Path:
    """$DETECTRON2_DATASETS, by default `datasets`, as Detectron2 reads it."""
    return Path(os.path.expanduser(environ.get(ROOT, "datasets")))


def load_public(name: str, root: Path, converted: Path = CONVERTED) -> CocoSplit:
    """The set ``name`` of PUBLIC below ``root``, by way of a COCO JSON in ``converted``.

    Raises:
        DataError: a file or directory of it is missing (says what to put there), or as its converter and `load_split`.
    """
    wanted = PUBLIC[name]
    annotation, images = root / wanted.annotation, root / wanted.images
    for path in (annotation, images, *(root / part for part in wanted.more)):
        if not path.exists():
            put = wanted.put.format(root=f"${ROOT}")
            todo = f"put {put}, or set {ROOT} to where they are (docs/datasets.md)"
            raise DataError(path, f"is missing, {name} needs it", todo)
    return load_split(write_document(wanted.document(annotation, images), converted, name), images)


def write_document(document: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write a document to ``folder``/NAME-DIGEST.json, atomically, unless it is there; returns the path."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    path = folder / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}.json"
    if path.is_file() and path.stat().st_size == len(text):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".tmp")
    except OSError as error:
        raise DataError(folder, f"cannot be written to ({error.strerror})", "make it a writable directory") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
