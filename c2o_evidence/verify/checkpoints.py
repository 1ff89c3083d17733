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
from c2o_evidence.model_config import config_digest
from c2o_evidence.records import Record
from c2o_evidence.suite import Suite
from c2o_evidence.sums import first_owners
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.plan import Configs, Plan
from c2o_evidence.verify.records import RECORD, checkpoint_path, parents_of


def check_checkpoints(
    root: Path,
    suite: Suite,
    digests: Mapping[str, str],
    records: Mapping[str, Record],
    configs: Configs,
    plan: Plan,
) -> Iterator[Finding]:
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
            yield from _check_metadata(root, suite, experiment, seed, digests, records, configs, plan)
    owners = first_owners(digests)
    for experiment, seed in suite.eval_jobs:
        yield from _check_detections(root, experiment, seed, digests, owners)


def _check_metadata(
    root: Path,
    suite: Suite,
    experiment: str,
    seed: int,
    digests: Mapping[str, str],
    records: Mapping[str, Record],
    configs: Configs,
    plan: Plan,
) -> Iterator[Finding]:
    """What a checkpoint says of itself against its place, and what else speaks of it against the checkpoint."""
    path = checkpoint_path(experiment, seed)
    try:
        metadata = read_metadata(root / path)
    except EvidenceError as error:
        yield Finding("malformed", path, str(error).replace(f"{root}/", ""))
        return
    folder = path.rsplit("/", 1)[0]
    record, config = records.get(f"{folder}/{RECORD}"), configs.get((experiment, seed))
    recipes = {plan.digest(f"{folder}/{RECORD}")}
    if record is not None:
        recipes.add(str(record.parameters.get("recipe")))  # the two are compared where the plan is checked
    own = {"train_seed": {str(seed)}, "recipe_sha256": {digest for digest in recipes if digest is not None}}
    for key, allowed in own.items():
        found, expected = metadata.get(key), min(allowed, default="")
        if found is None:
            yield Finding("malformed", path, "does not say what it is", "", key, expected)
        elif allowed and found not in allowed:
            yield Finding("swapped", path, f"says that it is {key} {found}", "", key, expected, found)
    for role, parent in parents_of(suite, experiment, seed).items():
        of_parent, found = digests.get(parent), metadata.get(f"{role}_sha256", "nothing")
        if of_parent is not None and found != of_parent:
            yield Finding("stale", path, "came from another checkpoint", "", f"{role}_sha256", of_parent, found)
    others = {
        "config_sha256": (f"{folder}/config.yaml", None if config is None else config_digest(config)),
        "data_sha256": ("suite.yaml", suite.data_digest()),
        "code_sha256": (f"{folder}/{RECORD}", None if record is None else record.code_sha256),
    }
    for key, (place, digest) in others.items():
        said = metadata.get(key)
        if said is None:
            yield Finding("malformed", path, "does not say what it was made of", "", key, digest or "")
        elif digest is not None and digest != said:
            yield Finding("stale", place, f"is not what {path} was made of", "", key, said, digest)


def _check_detections(
    root: Path, experiment: str, seed: int, digests: Mapping[str, str], owners: Mapping[str, str]
) -> Iterator[Finding]:
    path = f"eval/{experiment}/seed{seed}/detections.safetensors"
    expected = digests.get(checkpoint_path(experiment, seed))
    if path not in digests or expected is None:
        return
    try:
        found = read_detections_metadata(root / path).get("ckpt_sha256", "nothing")
    except EvidenceError:
        return  # named where the runs are recomputed
    if found != expected:
        owner = owners.get(found)
        message = "come from another checkpoint" if owner is None else f"come from {owner}"
        yield Finding("stale" if owner is None else "swapped", path, message, "", "ckpt_sha256", expected, found)
