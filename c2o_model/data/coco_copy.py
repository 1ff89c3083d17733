"""A user's COCO-format set, taken into the evidence chain: copied beside a manifest with the digest of every file.

A data configuration of ``kind: coco`` names an annotation JSON and an image directory for each split. The copy has the layout of the
embedded set, so training, evaluation and bundles treat both alike, and what happens to the originals later changes no
result. The originals are only read. Called by the workflow's data rule.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from c2o_model.data import manifest as manifests
from c2o_model.data.coco import load_split
from c2o_model.data.errors import DataError
from c2o_model.data.images import decode
from c2o_model.data.manifest import DataManifest

Progress = Callable[[int, int], None]


def import_coco(
    config: Mapping[str, Any], out: Path, base: Path, progress: Progress | None = None
) -> DataManifest:
    """Make sure that ``out`` holds a checked copy of the set of ``config``, and return its manifest.

    Args:
        config: the parsed data YAML: name, splits {train, val, holdout?: {json, images}}, sha256 (optional, of the copy).
        base: directory that relative paths of the configuration start from. ``~`` and environment variables are expanded.
        progress: called with (done, total) images.

    Raises:
        DataError: an annotation or image is missing or corrupt, a size in the JSON is not the image's, or the digest is not the expected one.
            Nothing is left behind then.
    """
    recipe = {"kind": "coco", "splits": config["splits"]}

    def fill(partial: Path) -> None:
        for split, source in config["splits"].items():
            _copy_split(expand(source["json"], base), expand(source["images"], base), partial, split, progress)

    return import_set(config, recipe, out, fill)


def import_set(
    config: Mapping[str, Any], recipe: Mapping[str, Any], out: Path, fill: Callable[[Path], None]
) -> DataManifest:
    """Make sure that ``out`` holds the set made by ``fill(directory)`` for ``recipe``: one process at a time, or nothing.

    Raises:
        DataError: as ``fill``, or the digest is not that of ``config``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out.parent / f".{out.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = _present(out, recipe)
        if present is not None:
            return present
        partial = out.parent / f".{out.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fill(partial)
            manifest = manifests.build(partial, config["name"], recipe, config["splits"])
            if config.get("sha256") not in (None, manifest.sha256):
                raise DataError(
                    f"data configuration {config['name']!r}",
                    f"sha256: expected {config['sha256']} but the set has {manifest.sha256}",
                    "these are not the files that the configuration was written for; restore them, or put the new digest there",
                )
            manifests.write(manifest)
            if out.is_dir() and not any(out.iterdir()):
                out.rmdir()  # the workflow makes the directory of an output before the job begins
            if out.exists():
                raise DataError(out, "holds another or a damaged set", "move it away")
            os.rename(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifests.read(out)


def _present(out: Path, recipe: Mapping[str, Any]) -> DataManifest | None:
    try:
        manifest = manifests.read(out)
        manifest.verify()
    except DataError:
        return None
    return manifest if manifest.config == recipe else None


def _copy_split(annotation: Path, images: Path, out: Path, split: str, progress: Progress | None) -> None:
    """Check every image by decoding it, copy it to ``images/SPLIT/``, and write the JSON with the new names."""
    checked = load_split(annotation, images)
    document = json.loads(annotation.read_bytes())
    for index in range(len(checked)):
        decode(checked, index)  # raises for a corrupt image and for another size than the JSON says
        target = out / "images" / split / checked.file_names[index]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checked.image_path(index), target)
        if progress is not None:
            progress(index + 1, len(checked))
    for record in document["images"]:
        record["file_name"] = f"images/{split}/{record['file_name']}"
    for number, record in enumerate(document["annotations"]):
        record.setdefault("area", record["bbox"][2] * record["bbox"][3])
        record.setdefault("iscrowd", 0)
        record.setdefault("id", number + 1)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    (out / f"{split}.json").write_text(text + "\n", encoding="utf-8")


def expand(text: str, base: Path) -> Path:
    """A path of a data configuration: ``~`` and environment variables put in, relative ones from ``base``."""
    return base / os.path.expanduser(os.path.expandvars(text))
