"""What decided each job, computed again: recipe and plan digests in records and checkpoints follow from the bundle.

A recipe digest stands for configuration, data, train seed, sources and the recipes of the parents; that of an
evaluation also for rows and eval seeds. All of it is in a bundle but the sources, and of those the records have
the digest. So `suite.yaml`, `config.yaml`, records and the headers of checkpoints hold each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.extent import EDITION
from c2o_evidence.records import Record
from c2o_evidence.suite import Suite
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import RECORD

Configs = Mapping[tuple[str, int], Mapping[str, Any]]


class Plan:
    """The digests of all jobs as they follow from the bundle; None where something they need is not there.

    Args:
        configs: the configuration of each (experiment, train seed). edition: of the bundle.
    """

    def __init__(self, suite: Suite, configs: Configs, records: Mapping[str, Record], edition: int = EDITION) -> None:
        self._edition = edition
        self._suite, self._configs, self._records = suite, configs, records
        self._jobs = {
            part: {f"{folder}/{name}/seed{seed}/{RECORD}": (name, seed) for name, seed in jobs}
            for part, folder, jobs in (("train", "train", suite.train_jobs), ("evaluate", "eval", suite.eval_jobs))
        }
        self.code = {part: digest for part in ("train", "evaluate") if (digest := self._common_code(part))}
        for part in ("timing", "attention", "gallery", "parity", "tables"):
            if record := records.get(f"{part}/{RECORD}"):
                self.code[part] = record.code_sha256
        self._stacks = self._common_stacks()
        self._given: dict[int, Suite] = {}

    def jobs(self, part: str) -> dict[str, tuple[str, int]]:
        """Record path -> (experiment, seed) of all jobs of `train` or `evaluate`."""
        return self._jobs[part]

    def _common_code(self, part: str) -> str | None:
        codes = Counter(self._records[path].code_sha256 for path in self.jobs(part) if path in self._records)
        return codes.most_common(1)[0][0] if codes else None

    def _common_stacks(self) -> dict[str, str]:
        """What most evaluations say decided their rows of each other stack."""
        found: dict[str, Counter[str]] = {}
        for path in self.jobs("evaluate"):
            said = self._records[path].parameters.get("stacks") if path in self._records else None
            for name, told in said.items() if isinstance(said, dict) else ():
                if isinstance(told, dict) and isinstance(told.get("sha256"), str):
                    found.setdefault(name, Counter())[told["sha256"]] += 1
        return {name: counts.most_common(1)[0][0] for name, counts in found.items()}

    def _with_seed(self, seed: int) -> Suite:
        """The suite with the configurations that one train seed was trained with."""
        if seed not in self._given:
            own = {name: self._configs.get((name, self._suite.seed_of(name, seed))) for name in self._suite.needed}
            configs = {name: config for name, config in own.items() if config is not None}
            self._given[seed] = self._suite.with_sources(configs, self.code, self._stacks)
        return self._given[seed]

    def digest(self, path: str) -> str | None:
        """What the record at `path` must say decided its job: `recipe` of a training, else `digest`."""
        seeds = self._suite.train_seeds or (0,)
        try:
            if path in (jobs := self.jobs("train")):
                name, seed = jobs[path]
                return self._with_seed(self._seed(name, seed)).recipe(name, seed).digest
            if path in (jobs := self.jobs("evaluate")):
                name, seed = jobs[path]
                return self._with_seed(self._seed(name, seed)).eval_digest(name, seed)
            if path == f"timing/{RECORD}":
                timing = self._suite.timing
                return self._with_seed(timing.train_seed if timing else seeds[0]).timing_digest()
            if path == f"attention/{RECORD}":
                return self._with_seed(seeds[0]).attention_digest()
            if path == f"gallery/{RECORD}":
                return self._with_seed(seeds[0]).gallery_digest()
            if path == f"parity/{RECORD}":
                return self._with_seed(seeds[0]).parity_digest()
            return self._with_seed(seeds[0]).tables_digest(self._edition)
        except EvidenceError:
            return None  # what is not there is named where it is missing

    def _seed(self, name: str, seed: int) -> int:
        return self._suite.train_seeds[0] if self._suite.experiment(name).shared else seed


def check_plan(suite: Suite, plan: Plan, records: Mapping[str, Record]) -> Iterator[Finding]:
    """Findings where a record says that something else decided its job than what the bundle holds."""
    wrong = {}
    for path, record in records.items():
        key = "recipe" if path.startswith("train/") else "digest"
        expected, found = plan.digest(path), str(record.parameters.get(key, "nothing"))
        if expected is not None and found != expected:
            wrong[path] = Finding("stale", path, "does not follow from suite, configurations and sources", "", key,
                                  expected, found)  # fmt: skip
    for part in ("train", "evaluate"):
        mine = [path for path in plan.jobs(part) if path in records]
        if len(mine) > 1 and all(path in wrong for path in mine):
            first = wrong[mine[0]]
            message = f"is not the suite of any {part} record"
            yield Finding("stale", "suite.yaml", message, mine[0], first.column, first.found, first.expected)
        for path in mine:
            if records[path].code_sha256 != (common := plan.code[part]):
                message = "was made by other sources than the other jobs of its kind"
                yield Finding("stale", path, message, "", "code_sha256", common, records[path].code_sha256)
    yield from wrong.values()
