"""Adopted trainings are offered to the store of trainings, so that other suites take them over too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from c2o_evidence.adopt.check import Verdict
from c2o_evidence.adopt.jobs import CHECKPOINT, data_manifest
from c2o_evidence.adopt.layout import Layout
from c2o_evidence.digests import sha256_file
from c2o_evidence.records import Record, read_record
from c2o_evidence.trained import FILES, TrainedStore, training_key


def offer_trainings(layout: Layout, verdicts: Mapping[str, Verdict]) -> int:
    """Puts every training that holds into the store, unless it is there; how many were new.

    Trainings by another environment than the one of `requirements/lock.txt` are left out: nothing here would ask for
    them.
    """
    store, lock = TrainedStore(layout.root / "results" / ".state" / "trained"), _lock(layout.root)
    new = 0
    for place, verdict in verdicts.items():
        if verdict.job.kind != "train" or verdict.state != "current":
            continue
        folder = layout.root / "results" / layout.suite.name / place
        record = read_record(folder / "record.json")
        if record.lock_sha256 != lock or verdict.job.digest is None:
            continue
        key = training_key(verdict.job.digest, _materials(layout, place), lock)
        with store.claim(key):
            if store.find(key) is None:
                files = {name: folder / name for name in FILES}
                store.keep(key, files, _origin(record), record.nondeterminism, _attention(record))
                new += 1
    return new


def _lock(root: Path) -> str:
    return sha256_file(root / "requirements" / "lock.txt")


def _materials(layout: Layout, place: str) -> dict[str, str]:
    """What workflow/scripts/train.py keys a training by: digests of parents and data set, by role."""
    _, experiment, seed = place.split("/")
    recipe = layout.suite.recipe(experiment, int(seed.removeprefix("seed")))
    found = {"data": layout.digests[data_manifest(layout.suite)]}
    for role, parent in (("init", recipe.init), ("teacher", recipe.teacher)):
        if parent is not None:
            name = f"results/{layout.suite.name}/train/{parent.experiment}/seed{parent.seed}/{CHECKPOINT}"
            found[f"{role}_sha256"] = layout.digests[name]
    return found


def _origin(record: Record) -> dict[str, str]:
    """Who trained it: the job that this one has taken it from, if it has."""
    taken = record.parameters.get("taken_from")
    if isinstance(taken, str) and len(parts := taken.split("/")) == 3:
        return {"suite": parts[0], "experiment": parts[1], "seed": parts[2].removeprefix("seed")}
    return {key: str(record.parameters[key]) for key in ("suite", "experiment", "seed")}


def _attention(record: Record) -> tuple[str, ...]:
    kernels = record.parameters.get("attention", [])
    return tuple(str(kernel) for kernel in kernels) if isinstance(kernels, list) else ()
