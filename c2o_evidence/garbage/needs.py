"""What is needed: what suites ask for, what the results manifest indexes, and what that was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.digests import read_sidecar
from c2o_evidence.errors import EvidenceError
from c2o_evidence.manifest import JOIN, read_results_manifest
from c2o_evidence.paths import path_fault
from c2o_evidence.records import read_record
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.suite_reduced import SUFFIX


@dataclass
class Needs:
    """`suites` by name: all of configs/suites, and a reduced one where it has results. `broken`: names whose
    configuration cannot be read, with the reason, so that nothing of them may go. `indexed`: directories
    `results/SUITE/PART/EXP/seedS` that the results manifest names, and those that they were made from. `recipes`:
    digests of all trainings that a suite asks for. `checkpoints`: digests of checkpoints in results that stay.
    """

    suites: dict[str, Suite] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    indexed: set[str] = field(default_factory=set)
    recipes: set[str] = field(default_factory=set)
    checkpoints: set[str] = field(default_factory=set)
    _jobs: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # what `asked` has looked up before

    def asked(self, suite: str, place: str) -> bool:
        """Whether `results/SUITE/PLACE` is asked for or indexed. PLACE: `train/EXP/seedS`, `eval/EXP/seedS`, a part."""
        if suite in self.broken or f"results/{suite}/{place}" in self.indexed:
            return True
        known = self.suites.get(suite)
        if known is None:  # the tables of a suite that is gone stay as long as results of it are in the manifest
            return place.count("/") < 2 and any(path.startswith(f"results/{suite}/") for path in self.indexed)
        kind, _, job = place.partition("/")
        if kind in ("train", "eval"):
            if (suite, kind) not in self._jobs:
                jobs = known.train_jobs if kind == "train" else known.eval_jobs
                self._jobs[suite, kind] = {f"{experiment}/seed{seed}" for experiment, seed in jobs}
            return job in self._jobs[suite, kind]
        return kind not in ("timing", "attention", "gallery", "parity") or bool(getattr(known, kind))


def read_needs(root: Path) -> Needs:
    """Reads the suites, the manifest and the records.

    Raises:
        TableError: the results manifest is damaged: what it indexes is not known, so nothing may be removed.
    """
    needs = Needs()
    for name in _suite_names(root):
        try:
            suite = load_suite(name, root)
            needs.recipes |= {suite.recipe(experiment, seed).digest for experiment, seed in suite.train_jobs}
            needs.suites[name] = suite
        except EvidenceError as error:
            for broken in (name, f"{name}{SUFFIX}"):
                needs.broken[broken] = str(error)
    _read_manifest(root, needs)
    for folder in sorted((root / "results").glob("*/train/*/seed*")):
        owner, place = folder.parts[-4], "/".join(folder.parts[-3:])
        if needs.asked(owner, place):
            try:
                needs.checkpoints.add(read_sidecar(folder / "model.safetensors"))
            except EvidenceError:
                continue  # nothing to recognise a copy by
    return needs


def _suite_names(root: Path) -> list[str]:
    names = [path.stem for path in sorted((root / "configs" / "suites").glob("*.yaml"))]
    reduced = [f"{name}{SUFFIX}" for name in names]
    parts = ("results", "results/.state", "deliverables")
    return names + [name for name in reduced if any((root / part / name).is_dir() for part in parts)]


def _read_manifest(root: Path, needs: Needs) -> None:
    for row in read_results_manifest(root / "manifests" / "results_manifest.tsv"):
        files = [row["tsv_path"], *row["ckpts"].split(JOIN)]
        needs.indexed |= {name.rpartition("/")[0] for name in files if path_fault(name) is None}
    todo = sorted(needs.indexed)
    while todo:
        place = todo.pop()
        try:
            record = read_record(root / place / "record.json")
        except EvidenceError:
            continue
        base = {"suite": "/".join(place.split("/")[:2]) + "/", "repository": ""}
        for file in record.materials:
            above = (base[file.base] + file.path).rpartition("/")[0]
            if above.startswith("results/") and above not in needs.indexed:
                needs.indexed.add(above)
                todo.append(above)
