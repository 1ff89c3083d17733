"""Public data sets, taken into the evidence chain by their names: copied beside COCO JSONs and a manifest of digests.

A data configuration of ``kind: named`` gives a name of `registration` for each split (``train: voc_2007_trainval``).
What lies below $DETECTRON2_DATASETS is only read; the copy has the layout of the embedded set. Called by the workflow's
data rule.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_model.data.coco_copy import Progress, _copy_split, import_set
from c2o_model.data.errors import DataError
from c2o_model.data.manifest import DataManifest
from c2o_model.data.registration import named_split


def import_named(
    config: Mapping[str, Any],
    out: Path,
    base: Path,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
) -> DataManifest:
    """Make sure that ``out`` holds a checked copy of the sets of ``config``, and return its manifest.

    Args:
        config: the parsed data YAML: name, splits {train, val, holdout?: name of a set}, sha256 (optional, of the
            copy).
        base: not used; a relative $DETECTRON2_DATASETS starts, as Detectron2's does, from the current directory.
        progress: called with (done, total) images of a split.
        environ: instead of the process's environment.

    Raises:
        DataError: as `named_split`, an image is corrupt or has another size than its annotation says, the classes of
            two splits differ, or the digest is not the expected one. Nothing is left behind then.
    """
    recipe = {"kind": "named", "splits": config["splits"]}

    def fill(partial: Path) -> None:
        with tempfile.TemporaryDirectory() as converted:
            first: tuple[str, tuple[str, ...]] | None = None
            for split, name in config["splits"].items():
                found = named_split(name, environ, converted=Path(converted))
                first = first or (name, found.class_names)
                if found.class_names != first[1]:
                    raise DataError(name, f"has other classes than {first[0]}", "name splits of one data set")
                # Not renamed to a public name there: the file's digest is part of published recipes.
                _copy_split(found.annotation, found.image_root, partial, split, progress)

    return import_set(config, recipe, out, fill)
