"""How far the rows of other stacks are from the core's: `parity/parity.tsv`, from the stored detections.

Each row of another stack is set beside the core's row of the same checkpoints, steps and options, run by run. The
detections of one image and class are paired, the nearest ones first; two that are further apart than APART, in score or
in a corner (as a share of the image's width or height), are no pair but two detections without partner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from c2o_evidence.annotations import MAX_SIDE, read_annotations
from c2o_evidence.atomic import atomic_write
from c2o_evidence.detections import Detections, read_detections
from c2o_evidence.errors import TableError
from c2o_evidence.limits import MAX_DETECTIONS_PER_IMAGE
from c2o_evidence.plain_file import LIMITS
from c2o_evidence.suite import Suite
from c2o_evidence.suite_stack import PARITY, title_of, twin_jobs, twins
from c2o_evidence.tsv import format_tsv, read_tsv

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
APART = 0.01
MAX_BLOCK = 10_000_000  # pairs of detections of one image and class; evaluation counts 100 of each


class Difference:
    """What is different between two sets of detections, summed up over runs."""

    def __init__(self) -> None:
        self.runs = self.equal_runs = self.detections = self.unpaired = 0
        self.score = self.box = self.ap = 0.0

    def add(self, here: Detections, core: Detections, sizes: Mapping[int, tuple[float, float]]) -> None:
        """One run of the row and the same run of the core's. `sizes`: width and height of each image, in px."""
        self.runs += 1
        self.equal_runs += here == core
        self.detections += len(core)
        for image, mine, theirs in _blocks(here, core):
            if image not in sizes:
                raise TableError(f"image {image} is not in the annotations; evaluate again")
            if len(mine) * len(theirs) > MAX_BLOCK:
                raise TableError(f"image {image} has {len(mine)} x {len(theirs)} detections of one class ({LIMITS})")
            width, height = sizes[image]
            scale = np.array([width, height, width, height], np.float64)
            score = np.abs(_score(here, mine)[:, None] - _score(core, theirs))
            box = np.abs((_box(here, mine)[:, None] - _box(core, theirs)) / scale).max(2)
            pairs = _pairs(np.maximum(score, box))
            self.unpaired += len(mine) + len(theirs) - 2 * len(pairs)
            for i, j in pairs:
                self.score, self.box = max(self.score, float(score[i, j])), max(self.box, float(box[i, j]))


def _score(found: Detections, where: npt.NDArray[np.int64]) -> Floats:
    return found.score[where].astype(np.float64)


def _box(found: Detections, where: npt.NDArray[np.int64]) -> Floats:
    return found.box[where].astype(np.float64)


def _blocks(here: Detections, core: Detections) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Each image and class with the places of its detections on both sides."""
    places: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for side, found in enumerate((here, core)):
        for place, key in enumerate(zip(found.image_id.tolist(), found.label.tolist(), strict=True)):
            places.setdefault(key, ([], []))[side].append(place)
    for (image, _), (mine, theirs) in sorted(places.items()):
        yield image, np.array(mine, np.int64), np.array(theirs, np.int64)


def _pairs(distance: Floats) -> list[tuple[int, int]]:
    """Pairs of rows and columns, the nearest first, each in one pair at most and none further apart than APART."""
    rows, columns = np.nonzero(distance <= APART)
    order = np.argsort(distance[rows, columns], kind="stable")
    left, right, pairs = set(range(distance.shape[0])), set(range(distance.shape[1])), []
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((i, j))
    return pairs


def build_parity(base: Path, suite: Suite, annotations: Path, runs: Sequence[Row] | None = None) -> str:
    """The table (schema `parity`) of the results below `base` (`results/SUITE` or a bundle), as text.

    Args:
        annotations: the file that was evaluated on. runs: rows of the results TSVs; default: those below `base`.

    Raises:
        TableError, DetectionsError: a file is missing or damaged, or lacks a run.
    """
    sizes = _sizes(annotations)
    found = {row.exp_id: Difference() for row, _ in twins(suite)}
    for experiment, seed in twin_jobs(suite):
        folder = base / "eval" / experiment / f"seed{seed}"
        detections = read_detections(folder / "detections.safetensors", MAX_DETECTIONS_PER_IMAGE * len(sizes))
        rows = read_tsv(folder / "results.tsv", "results") if runs is None else runs
        ap = {(row["exp_name"], row["eval_seed"]): row["AP"] for row in rows if row["train_seed"] == seed}
        for row, core in twins(suite):
            for eval_seed in suite.eval_seeds if row.experiment == experiment else ():
                mine, theirs = (row.exp_id, eval_seed), (core.exp_id, eval_seed)
                for key in (mine, theirs):
                    if key not in detections or key not in ap:
                        raise TableError(f"{folder}: {key[0]}/{eval_seed}: this run is not there; evaluate again")
                difference = found[row.exp_id]
                difference.add(detections[mine], detections[theirs], sizes)
                difference.ap = max(difference.ap, abs(ap[mine] - ap[theirs]))
    return format_tsv([_row(found[row.exp_id], row.exp_id, core.exp_id, row) for row, core in twins(suite)],
                      "parity", PARITY)  # fmt: skip


def _sizes(annotations: Path) -> dict[int, tuple[float, float]]:
    """Width and height of each image, in px."""
    sizes = {}
    for index, image in enumerate(read_annotations(annotations)["images"]):
        side = tuple(image.get(name) for name in ("width", "height"))
        if not all(isinstance(value, int | float) and 0 < value <= MAX_SIDE for value in side):
            raise TableError(f"{annotations}: images[{index}]: has no width and height; correct the annotation file")
        sizes[int(image["id"])] = (float(image["width"]), float(image["height"]))
    return sizes


def _row(difference: Difference, exp_id: str, core: str, row: Any) -> dict[str, Any]:
    return {
        "exp_id": exp_id,
        "core": core,
        "stack": title_of(row.stack),
        "sample_step": row.sample_step,
        "n_runs": difference.runs,
        "equal_runs": difference.equal_runs,
        "n_detections": difference.detections,
        "unpaired": difference.unpaired,
        "max_score_diff": difference.score,
        "max_box_diff": difference.box,
        "max_AP_diff": difference.ap,
    }


def write_parity(base: Path, suite: Suite, annotations: Path) -> Path:
    """Makes `results/SUITE/parity/parity.tsv`; its path. Raises as `build_parity`."""
    path = base / PARITY
    atomic_write(path, build_parity(base, suite, annotations))
    return path
