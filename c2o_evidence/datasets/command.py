"""`c2o data list`, `check` and `plan`: names to sets, sets to text, text to exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from c2o_evidence.datasets import plan
from c2o_evidence.datasets.check import SAMPLE, Options, check_set
from c2o_evidence.datasets.kinds import DataSet
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.names import EXTRA, datasets_root, extra_splits, find
from c2o_evidence.datasets.view import watcher
from c2o_evidence.errors import DataSetError
from c2o_evidence.printable import printable

STOPPED = 130  # as a shell says of Ctrl-C


@dataclass(frozen=True)
class Listed:
    """A set, and how much of it is there."""

    name: str
    title: str
    splits: tuple[str, ...]
    there: int  # of its files and directories
    parts: int


def list_command(checkout: Path, sets: Path | None, *, as_json: bool, environ: Mapping[str, str] = os.environ) -> int:
    """Print every name and how much of it is there. DataSetError for a bad EXTRA_COCO_DATASETS."""
    base = sets or datasets_root(checkout, environ)
    extra = extra_splits(environ.get(EXTRA, ""))
    own = [(DataSet(name, "your own", "", "", (split,)), checkout) for name, split in extra.items()]
    found = [_listed(dataset, place) for dataset, place in [*((d, base) for d in DATASETS.values()), *own]]
    if as_json:
        print(json.dumps({"root": str(base), "sets": [asdict(item) for item in found]}, indent=2))
        return 0
    width = max(len(item.name) for item in found)
    print(f"below {printable(str(base))}:")
    for item in found:
        state = {0: "absent", item.parts: "there"}.get(item.there, f"{item.there} of {item.parts} parts there")
        print(f"  {printable(item.name):<{width}}  {state:<21}  {item.title}: {printable(', '.join(item.splits))}")
    print("`c2o data plan NAME` says what one takes, `c2o data check NAME` whether it is whole")
    return 0


def _listed(dataset: DataSet, base: Path) -> Listed:
    paths = dataset.paths()
    there = sum((base / path).exists() for path in paths)
    return Listed(dataset.name, dataset.title, tuple(split.name for split in dataset.splits), there, len(paths))


def check_command(
    name: str,
    checkout: Path,
    sets: Path | None,
    *,
    images: int | None = None,
    every: bool = False,
    seed: int = 0,
    start: int = 0,
    jobs: int | None = None,
    as_json: bool = False,
    environ: Mapping[str, str] = os.environ,
    known: Mapping[str, DataSet] = DATASETS,
) -> int:
    """Check a set and print the outcome; 0 it holds, 1 it has a fault, 130 stopped by Ctrl-C.

    Raises:
        DataSetError: the name is unknown, the set is not there, or `start` is given for more than one split.
    """
    dataset = find(name, environ.get(EXTRA, ""), known)
    if start and len(dataset.splits) > 1:
        names = ", ".join(split.name for split in dataset.splits)
        raise DataSetError(f"--start {start}: {name} has several splits; name one of {names}")
    base = checkout if not dataset.archives else (sets or datasets_root(checkout, environ))
    most = None if every else SAMPLE if images is None else images
    outcome = check_set(dataset, base, Options(most, seed, start, jobs), watcher(quiet=as_json))
    print(outcome.to_json() if as_json else outcome.text())
    return STOPPED if outcome.stopped else outcome.exit_code


def plan_command(name: str, checkout: Path, *, as_json: bool = False, environ: Mapping[str, str] = os.environ) -> int:
    """Print what a set takes. DataSetError for an unknown name, or for a set of EXTRA_COCO_DATASETS."""
    dataset = find(name, environ.get(EXTRA, ""))
    if not dataset.archives:
        raise DataSetError(f"{name}: is your own set, of which nothing is known; `c2o data check {name}` looks at it")
    print(plan.as_json(dataset, checkout) if as_json else plan.text(dataset, checkout))
    return 0
