"""Level `tables`: every cell of every table follows from the stored detections and the re-hashed checkpoints.

The chain is rebuilt from below: detections and annotations give the runs, the runs give every table; the same
functions that made the tables make them again, and each is compared with what the bundle has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2o_evidence.analysis import RunAnalysis
from c2o_evidence.bundle import DETAIL_FILES, bundle_files
from c2o_evidence.errors import EvidenceError, TableError
from c2o_evidence.limits import MAX_TABLE
from c2o_evidence.model_config import config_digest
from c2o_evidence.parity import build_parity
from c2o_evidence.plain_file import read_plain
from c2o_evidence.suite import Suite, load_resolved_suite
from c2o_evidence.suite_stack import PARITY
from c2o_evidence.sums import first_owners
from c2o_evidence.tables import build_all, manifest_rows
from c2o_evidence.tables.detail import RunId
from c2o_evidence.tsv import format_tsv
from c2o_evidence.verify.checkpoints import check_checkpoints
from c2o_evidence.verify.compare import compare_text, compare_tsv
from c2o_evidence.verify.edition import bundle_extent
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.gallery import check_gallery
from c2o_evidence.verify.measured import check_attention, check_curves, check_timing, measured_note
from c2o_evidence.verify.own_files import check_own, written_here
from c2o_evidence.verify.pictures import check_figures, unsafe_figures
from c2o_evidence.verify.plan import Plan, check_plan
from c2o_evidence.verify.records import check_lock, check_records, checkpoint_path, read_records
from c2o_evidence.verify.runs import Evaluated, Task, data_digest, evaluate_all, expected_rows
from c2o_evidence.yaml_file import load_yaml

Row = dict[str, Any]
SCHEMAS = {
    "runs.tsv": "results",
    "summary.tsv": "summary",
    "main.tsv": "main",
    "comparisons.tsv": "comparisons",
} | {name: name.removesuffix(".tsv") for name in DETAIL_FILES}
TABLES_SHOWN = tuple(f"tables/{name}" for name in SCHEMAS if name != "main.tsv")  # by figures
NO_DIGEST = "0" * 64


@dataclass
class TablesResult:
    """What level `tables` saw, and how long the recomputation of AP took."""

    findings: list[Finding] = field(default_factory=list)
    runs: int = 0
    cells: int = 0
    ap_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def _digest(value: object) -> str:
    """`value` if it is a SHA-256, else one that no file has."""
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else NO_DIGEST


class _Check:
    """One verification of one bundle. `digests`: what the files hash to now."""

    def __init__(self, root: Path, suite: Suite, digests: Mapping[str, str]) -> None:
        self.root = root
        self.suite = suite
        self.digests = digests
        self.owners = first_owners(digests)
        self.result = TablesResult()
        self.analyses: dict[RunId, RunAnalysis] = {}
        self.records, findings = read_records(root, suite, digests)
        self.add(*findings)
        self.configs = self._read_configs()
        made_here = written_here(root, digests)
        self.extent = bundle_extent(
            root, suite, digests, self.records.get("tables/record.json"), written_here=made_here
        )

    def add(self, *findings: Finding) -> None:
        self.result.findings += findings

    def _text(self, path: str) -> str | None:
        """The text of a listed file; None for what level `files` has not hashed: nothing else is ever opened."""
        if path not in self.digests:
            return None
        try:
            return read_plain(self.root / path, MAX_TABLE).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def run(self, jobs: int | None, progress: Callable[[int], None] | None) -> TablesResult:
        self._check_files()
        dataset = NO_DIGEST
        if self.suite.rows:
            dataset, findings = data_digest(self.root, self.suite, self.digests)
            self.add(*findings)
        self._check_jobs()
        runs = self._runs(dataset, jobs, progress)
        timing = self._timing()
        if runs is not None:
            self.result.runs = len(runs)
            if timing is not None:
                self._tables(runs, timing)
        self._other_files()
        return self.result

    def _check_jobs(self) -> None:
        """Records, checkpoints and the plan: what the jobs say that they were, against each other."""
        root, suite, digests, records = self.root, self.suite, self.digests, self.records
        plan = Plan(suite, self.configs, records, self.extent.edition)
        self.add(*check_records(root, suite, digests, records, self.extent))
        self.add(*check_checkpoints(root, suite, digests, records, self.configs, plan))
        self.add(*check_plan(suite, plan, records))
        self._take(check_lock(suite, digests, records))

    def _take(self, seen: tuple[list[Finding], list[str]]) -> None:
        self.add(*seen[0])
        self.result.notes += seen[1]

    def _read_configs(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The configuration of each training that has one; equal files are parsed once."""
        configs: dict[tuple[str, int], dict[str, Any]] = {}
        parsed: dict[str, dict[str, Any]] = {}
        for experiment, seed in self.suite.train_jobs:
            path = f"train/{experiment}/seed{seed}/config.yaml"
            digest = self.digests.get(path)
            if digest is None:
                continue
            try:
                document = parsed.get(digest) or load_yaml(self.root / path, path)
                if isinstance(document, dict) and config_digest(document):
                    configs[experiment, seed] = parsed[digest] = document
                else:
                    self.add(Finding("malformed", path, "is not a configuration"))
            except EvidenceError as error:
                self.add(Finding("malformed", path, self._shorten(str(error))))
        return configs

    def _check_files(self) -> None:
        wanted = set(bundle_files(self.suite, self.extent))
        for path in sorted(wanted - set(self.digests)):
            self.add(Finding("missing", path, "the suite asks for it"))
        for path in sorted(set(self.digests) - wanted):
            self.add(Finding("extra", path, "the suite knows nothing of it"))

    def _runs(self, dataset: str, jobs: int | None, progress: Callable[[int], None] | None) -> list[Row] | None:
        """The runs as they follow from the detections; None (and findings) where they cannot be recomputed."""
        tasks: list[Task] = []
        if not self.suite.rows:
            return []
        for experiment, seed in self.suite.eval_jobs:
            folder = f"eval/{experiment}/seed{seed}"
            keys = tuple((row.exp_id, s) for row in self.suite.rows_of(experiment) for s in self.suite.eval_seeds)
            closer = self.extent.edition > 1
            tasks.append(Task(str(self.root / folder / "detections.safetensors"), keys, closer))
        started = time.perf_counter()
        try:
            evaluated = evaluate_all(self.root / "data" / "val.json", tasks, jobs=jobs, progress=progress)
        except TableError as error:
            self.add(Finding("malformed", "data/val.json", self._shorten(str(error))))
            return None
        self.result.ap_seconds = time.perf_counter() - started
        self.add(*self._detections_once(evaluated))
        runs: list[Row] = []
        for (experiment, seed), task, result in zip(self.suite.eval_jobs, tasks, evaluated, strict=True):
            runs += self._results(experiment, seed, dataset, task, result)
            for (exp_id, eval_seed), analysis in result.analyses.items():
                self.analyses[exp_id, seed, eval_seed] = analysis
        return runs

    def _shorten(self, message: str) -> str:
        return message.replace(f"{self.root}/", "")

    def _results(self, experiment: str, seed: int, dataset: str, task: Task, evaluated: Evaluated) -> list[Row]:
        """Compares one results TSV with what its detections give, and returns the latter."""
        folder = f"eval/{experiment}/seed{seed}"
        path = f"{folder}/results.tsv"
        if evaluated.error:
            self.add(Finding("malformed", f"{folder}/detections.safetensors", self._shorten(evaluated.error)))
        for exp_id, eval_seed in evaluated.extra:
            row = f"exp_name={exp_id}, eval_seed={eval_seed}"
            self.add(Finding("row-extra", f"{folder}/detections.safetensors", "nothing asks for this run", row=row))
        record = self.records.get(f"{folder}/record.json")
        checkpoint = checkpoint_path(experiment, seed)
        identity = {
            "ckpt_path": checkpoint,
            "ckpt_sha256": _digest(self.digests.get(checkpoint)),
            "config_sha256": self._config_digest(experiment, seed),
            "dataset_sha256": _digest(dataset),
            "code_sha256": NO_DIGEST if record is None else record.code_sha256,
        }
        rows = expected_rows(self.suite, experiment, seed, identity, evaluated, evaluated.class_names)
        missing = set(task.keys) - set(evaluated.metrics)
        for exp_id, eval_seed in () if evaluated.error else sorted(missing):
            row = f"exp_name={exp_id}, eval_seed={eval_seed}"
            self.add(Finding("row-missing", f"{folder}/detections.safetensors", "this run is not there", row=row))
        found = self._text(path)
        if found is None:
            self.add(Finding("malformed" if path in self.digests else "missing", path, "cannot be read"))
        elif rows:
            self._compare(path, "results", rows, found)
        return rows

    def _config_digest(self, experiment: str, seed: int) -> str:
        config = self.configs.get((experiment, seed))
        return NO_DIGEST if config is None else config_digest(config)

    def _detections_once(self, evaluated: list[Evaluated]) -> Iterator[Finding]:
        """No two runs of a row have the same detections: that would be one run under two seeds."""
        seen: dict[tuple[str, str], str] = {}
        for (experiment, seed), result in zip(self.suite.eval_jobs, evaluated, strict=True):
            path = f"eval/{experiment}/seed{seed}/detections.safetensors"
            for (exp_id, eval_seed), digest in sorted(result.content.items()):
                row = f"exp_name={exp_id}, train_seed={seed}, eval_seed={eval_seed}"
                if digest is None:
                    continue
                if (exp_id, digest) in seen:
                    yield Finding("used-twice", path, f"its detections are those of {seen[exp_id, digest]}", row=row)
                seen.setdefault((exp_id, digest), row)

    def _compare(self, path: str, schema: str, rows: list[Row], found: str) -> None:
        expected = format_tsv(rows, schema, path)
        self.result.cells += len(rows) * (expected.split("\n", 1)[0].count("\t") + 1)
        for finding in compare_tsv(path, schema, expected, found):
            self.add(self._name_swap(finding))

    def _name_swap(self, finding: Finding) -> Finding:
        """A digest cell that is another checkpoint's says so."""
        owner = self.owners.get(finding.found)
        if finding.kind != "stale" or owner is None:
            return finding
        message = f"is the digest of {owner}"
        return Finding("swapped", finding.path, message, finding.row, finding.column, finding.expected, finding.found)

    def _timing(self) -> list[Row] | None:
        rows, findings = check_timing(self.root, self.suite, self.digests, self.records.get("timing/record.json"))
        self.add(*(self._name_swap(finding) for finding in findings))
        return rows

    def _all_digests(self) -> dict[str, str]:
        """The digests of all files that the suite asks for; NO_DIGEST for one that is not there."""
        return {**dict.fromkeys(bundle_files(self.suite, self.extent), NO_DIGEST), **self.digests}

    def _tables(self, runs: list[Row], timing: list[Row]) -> None:
        try:
            files = build_all(self.suite, runs, timing, self.analyses)
            manifest = manifest_rows(self.suite, runs, self._all_digests())
        except EvidenceError as error:
            self.add(Finding("row-missing", "tables/summary.tsv", f"cannot be recomputed: {error}"))
            return
        files["../manifest.tsv"] = format_tsv(manifest, "manifest", "manifest.tsv")
        for name, expected in files.items():
            path = "manifest.tsv" if name == "../manifest.tsv" else f"tables/{name}"
            found = self._text(path)
            if found is None:
                if path in self.digests:  # else it is missing, and named so already
                    self.add(Finding("malformed", path, "is not UTF-8 text"))
                continue
            if path.endswith(".tsv"):
                self.result.cells += expected.count("\t") + expected.count("\n")
                for finding in compare_tsv(path, SCHEMAS.get(name, "manifest"), expected, found):
                    self.add(self._name_swap(finding))
            else:
                self.add(*compare_text(path, expected, found))
        if self.suite.parity:
            self._parity(runs)

    def _parity(self, runs: list[Row]) -> None:
        """How far other stacks are from the core, from the detections again."""
        found = self._text(PARITY)
        if found is None:
            return  # missing, and named so
        try:
            expected = build_parity(self.root, self.suite, self.root / "data" / "val.json", runs)
        except EvidenceError as error:
            self.add(Finding("row-missing", PARITY, f"cannot be recomputed: {self._shorten(str(error))}"))
            return
        self.result.cells += expected.count("\t") + expected.count("\n")
        self.add(*compare_tsv(PARITY, "parity", expected, found))

    def _other_files(self) -> None:
        """What does not follow from the runs alone: what was measured, figures, and the files of the bundle itself."""
        root, suite, digests = self.root, self.suite, self.digests
        self.add(*check_attention(root, suite, digests, self.records.get("attention/record.json")))
        self.add(*check_curves(root, suite, digests))
        self.add(*unsafe_figures(root, suite, digests, self.extent))
        if any(finding.path in TABLES_SHOWN for finding in self.result.findings):
            self.result.notes.append("figures were not compared: the tables that they show do not hold")
        else:
            self._take(check_figures(root, suite, digests, self.records.get("tables/record.json")))
        self._take(check_gallery(root, suite, digests, self.records))
        self._take(check_own(root, suite, digests))
        self.result.notes.append(measured_note(suite))


def check_tables(
    root: Path,
    digests: Mapping[str, str],
    *,
    jobs: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TablesResult:
    """Level `tables` of the bundle at `root`.

    Args:
        digests: SHA-256 of every listed file as it is now, from level `files`.
        jobs: processes for recomputing AP.
        progress: called with the number of runs just recomputed.
    """
    try:
        suite = load_resolved_suite(root / "suite.yaml")
    except EvidenceError as error:
        message = str(error).replace(f"{root}/", "")
        return TablesResult([Finding("malformed", "suite.yaml", message)])
    return _Check(root, suite, digests).run(jobs, progress)


def count_runs(root: Path) -> int:
    """How many runs `check_tables` will recompute; 0 if the suite cannot be read."""
    try:
        suite = load_resolved_suite(root / "suite.yaml")
    except EvidenceError:
        return 0
    return sum(len(suite.rows_of(name)) * len(suite.eval_seeds) for name, _ in suite.eval_jobs)
