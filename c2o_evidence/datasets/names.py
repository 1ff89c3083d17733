"""Data sets by the names that users type: families, splits, and those of EXTRA_COCO_DATASETS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from c2o_evidence.datasets.kinds import DataSet, Split
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.errors import DataSetError

ROOT, EXTRA = "DETECTRON2_DATASETS", "EXTRA_COCO_DATASETS"
DIGITS = "c2o_digits"


def datasets_root(checkout: Path, environ: Mapping[str, str]) -> Path:
    """$DETECTRON2_DATASETS, by default `datasets`; a relative one starts at the checkout, where trainings run."""
    return checkout / Path(os.path.expanduser(environ.get(ROOT) or "datasets"))


def extra_entries(setting: str) -> list[tuple[str, list[str]]]:
    """The entries of EXTRA_COCO_DATASETS: each as it stands there, and its fields; three if it is well formed."""
    entries = [part.strip() for part in setting.split(";")]
    return [(entry, [field.strip() for field in entry.split(":")]) for entry in entries if entry]


def extra_splits(setting: str) -> dict[str, Split]:
    """The splits of EXTRA_COCO_DATASETS="name:json:image_root[;…]". DataSetError for a malformed or repeated one."""
    found: dict[str, Split] = {}
    for entry, fields in extra_entries(setting):
        if len(fields) != 3 or not all(fields):
            raise DataSetError(f"{EXTRA}: {entry!r} is not name:json:image_root; separate entries by ';'")
        name, json, images = fields
        if name in found:
            raise DataSetError(f"{EXTRA}: {name} is listed twice; give each set its own name")
        found[name] = Split(name, "coco", json, images, classes=0)
    return found


def find(name: str, extra: str = "", known: Mapping[str, DataSet] = DATASETS) -> DataSet:
    """The set of that name; for the name of a split, its family with this split alone.

    Args:
        extra: the value of EXTRA_COCO_DATASETS.

    Raises:
        DataSetError: nothing has this name (says what has), or `extra` is malformed.
    """
    if name in known:
        return known[name]
    for family in known.values():
        for split in family.splits:
            if split.name == name:
                return replace(family, splits=(split,))
    own = extra_splits(extra)
    if name in own:
        return DataSet(name, name, "", "", (own[name],))
    if name == DIGITS or name.startswith(f"{DIGITS}_"):
        what = "is made by the project itself and checked whenever it is used"
        raise DataSetError(f"{name}: {what}; `c2o doctor` says whether it is there")
    names = ", ".join([*known, *own])
    raise DataSetError(
        f"{name}: is not the name of a data set; give one of {names}, or of their splits (`c2o data list`),"
        f" or name yours in {EXTRA}"
    )
