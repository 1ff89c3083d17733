"""Checkpoints against what they say about themselves: recipe, train seed, what they came from.

A checkpoint carries this in its header, written by the training. So two checkpoints that were swapped, or one
that stands for two seeds, show even where every list of digests was made to fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.detections import read_detections_metadata
from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import read_record
from c2o_evidence.suite import Suite
from c2o_evidence.sums import first_owners
from c2o_evidence.verify.findings import Finding, Kind


def checkpoint_path(experiment: str, seed: int) -> str:
    """Where the checkpoint of a training lies in a bundle."""
    return f"train/{experiment}/seed{seed}/model.safetensors"


def check_checkpoints(root: Path, suite: Suite, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Findings for checkpoints that are not those of their place, or that stand for two train seeds."""
    for experiment in suite.needed:
        seen: dict[str, str] = {}
        for seed in suite.seeds_of(experiment):
            path = checkpoint_path(experiment, seed)
            digest = digests.get(path)
            if digest is None:
                continue  # level files, or the list of what the suite asks for, has named it
            if digest in seen:
                yield Finding("used-twice", path, f"is the same checkpoint as {seen[digest]}")
            seen.setdefault(digest, path)
            yield from _check_metadata(root, suite, experiment, seed, digests)
    owners = first_owners(digests)
    for experiment, seed in suite.eval_jobs:
        yield from _check_detections(root, experiment, seed, digests, owners)


def _check_metadata(
    root: Path, suite: Suite, experiment: str, seed: int, digests: Mapping[str, str]
) -> Iterator[Finding]:
    path = checkpoint_path(experiment, seed)
    try:
        metadata = read_metadata(root / path)
    except EvidenceError as error:
        yield Finding("malformed", path, str(error).replace(f"{root}/", ""))
        return
    spec = suite.experiment(experiment)
    wanted: dict[str, str | None] = {"experiment": experiment, "train_seed": str(seed)}
    wanted["recipe_sha256"] = _recorded_recipe(root, path, digests)
    for role, parent in (("init", spec.init), ("teacher", spec.teacher)):
        if parent is not None:
            parent_seed = 0 if suite.experiment(parent).shared else seed
            wanted[f"{role}_sha256"] = digests.get(checkpoint_path(parent, parent_seed))
    for key, expected in wanted.items():
        found = metadata.get(key)
        if found is None or expected is None or found == expected:
            continue  # what a checkpoint from elsewhere does not say cannot be checked
        kind: Kind = "swapped" if key in ("experiment", "train_seed", "recipe_sha256") else "stale"
        message = f"says that it is {key} {found}" if kind == "swapped" else "came from another checkpoint"
        yield Finding(kind, path, message, column=key, expected=expected, found=found)


def _recorded_recipe(root: Path, checkpoint: str, digests: Mapping[str, str]) -> str | None:
    """The recipe digest that the record beside a checkpoint names; None where there is none to read."""
    path = checkpoint.replace("model.safetensors", "record.json")
    if path not in digests:
        return None
    try:
        recipe = read_record(root / path).parameters.get("recipe")
    except EvidenceError:
        return None  # named where the records are checked
    return recipe if isinstance(recipe, str) else None


def _check_detections(
    root: Path, experiment: str, seed: int, digests: Mapping[str, str], owners: Mapping[str, str]
) -> Iterator[Finding]:
    path = f"eval/{experiment}/seed{seed}/detections.safetensors"
    expected = digests.get(checkpoint_path(experiment, seed))
    if path not in digests or expected is None:
        return
    try:
        found = read_detections_metadata(root / path).get("ckpt_sha256", expected)
    except EvidenceError:
        return  # named where the runs are recomputed
    if found != expected:
        owner = owners.get(found)
        message = "come from another checkpoint" if owner is None else f"come from {owner}"
        kind: Kind = "stale" if owner is None else "swapped"
        yield Finding(kind, path, message, column="ckpt_sha256", expected=expected, found=found)
