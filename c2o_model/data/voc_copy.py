"""A user's data set in VOC layout, taken into the evidence chain: copied beside COCO JSONs and a manifest of digests.

A data configuration of ``kind: voc`` names the directory and, for each split, a list of ImageSets/Main. The copy has
the layout of the embedded set, so all else treats both alike. The originals are only read. Called by the workflow's
data rule.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_model.data.coco import load_split
from c2o_model.data.coco_copy import Progress, expand, import_set
from c2o_model.data.errors import DataError
from c2o_model.data.images import decode
from c2o_model.data.manifest import DataManifest
from c2o_model.data.voc import check_layout, class_names, image_file, read_names, voc_document


def import_voc(
    config: Mapping[str, Any], out: Path, base: Path, progress: Progress | None = None
) -> DataManifest:
    """Make sure that ``out`` holds a checked copy of the set of ``config``, and return its manifest.

    Args:
        config: the parsed data YAML: name, root, splits {train: LIST, val: LIST, holdout?: LIST}, classes (optional:
            all that occur, sorted), sha256 (optional, of the copy).
        base: directory that a relative ``root`` starts from. ``~`` and environment variables are expanded.
        progress: called with (done, total) images of a split.

    Raises:
        DataError: the directory or a file of it is missing or malformed, an image is in two splits, or the digest is
            not the expected one. Nothing is left behind then.
    """
    recipe = {key: config[key] for key in ("kind", "root", "splits", "classes") if key in config}

    def fill(partial: Path) -> None:
        root = expand(str(config["root"]), base)
        if "$" in str(root):
            todo = f"set it to the directory of {config['name']}"
            raise DataError(root, "an environment variable of `root` is not set", todo)
        check_layout(root)
        names = {split: read_names(root, listed) for split, listed in config["splits"].items()}
        _check_apart(root, names)
        classes = class_names(root, [name for part in names.values() for name in part], config)
        for split, members in names.items():
            _copy_split(root, members, classes, partial, split, progress)

    return import_set(config, recipe, out, fill)


def _check_apart(root: Path, names: Mapping[str, list[str]]) -> None:
    owner: dict[str, str] = {}
    for split, members in names.items():
        for name in members:
            if owner.setdefault(name, split) != split:
                what = f"{name} is in the splits {owner[name]} and {split}"
                raise DataError(root / "ImageSets", what, "name lists that are disjoint")


def _copy_split(
    root: Path, names: list[str], classes: list[str], out: Path, split: str, progress: Progress | None
) -> None:
    """Copy the images to ``images/SPLIT``, write SPLIT.json, and check both by decoding every image."""
    document = voc_document(root, names, classes)
    folder = out / "images" / split
    folder.mkdir(parents=True)
    for name, record in zip(names, document["images"], strict=True):
        shutil.copyfile(image_file(root, name), folder / record["file_name"])
        record["file_name"] = f"images/{split}/{record['file_name']}"
    path = out / f"{split}.json"
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")
    checked = load_split(path, out)
    for index in range(len(checked)):
        decode(checked, index)  # raises for a corrupt image and for another size than the annotation says
        if progress is not None:
            progress(index + 1, len(checked))
