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

from c2o_evidence.bundle import bundle_files
from c2o_evidence.errors import EvidenceError, TableError
from c2o_evidence.figures import figure_names
from c2o_evidence.limits import MAX_RECORD, MAX_TABLE
from c2o_evidence.model_config import config_digest
from c2o_evidence.plain_file import read_plain
from c2o_evidence.report import read_svg, render_report
from c2o_evidence.suite import Suite, load_resolved_suite
from c2o_evidence.sums import first_owners
from c2o_evidence.tables import build_all, manifest_rows
from c2o_evidence.tsv import format_tsv, read_tsv
from c2o_evidence.verify.checkpoints import check_checkpoints, checkpoint_path
from c2o_evidence.verify.compare import compare_text, compare_tsv
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import check_records, other_environments
from c2o_evidence.verify.runs import Evaluated, Task, data_digest, evaluate_all, expected_rows, read_json
from c2o_evidence.yaml_file import load_yaml

Row = dict[str, Any]
SCHEMAS = {
    "runs.tsv": "results",
    "summary.tsv": "summary",
    "main.tsv": "main",
    "comparisons.tsv": "comparisons",
}


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
            dataset, findings = data_digest(self.root, self.digests)
            self.add(*findings)
        for check in (check_checkpoints, check_records):
            self.add(*check(self.root, self.suite, self.digests))
        if others := other_environments(self.root, self.suite, self.digests):
            self.result.notes.append(f"{len(others)} jobs ran in another environment than environment/lock.txt")
        runs = self._runs(dataset, jobs, progress)
        if runs is None:
            return self.result
        self.result.runs = len(runs)
        timing = self._timing()
        if timing is not None:
            self._tables(runs, timing)
        self._other_tables()
        return self.result

    def _check_files(self) -> None:
        wanted = set(bundle_files(self.suite))
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
            tasks.append(Task(str(self.root / folder / "detections.safetensors"), keys))
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
        record = read_json(self.root / folder / "record.json", MAX_RECORD) or {}
        checkpoint = checkpoint_path(experiment, seed)
        identity = {
            "ckpt_path": checkpoint,
            "ckpt_sha256": _digest(self.digests.get(checkpoint)),
            "config_sha256": self._config_digest(f"train/{experiment}/seed{seed}/config.yaml"),
            "dataset_sha256": _digest(dataset),
            "code_sha256": _digest(record.get("code_sha256")),
        }
        rows = expected_rows(self.suite, experiment, seed, identity, evaluated, evaluated.class_names)
        missing = set(task.keys) - set(evaluated.metrics)
        for exp_id, eval_seed in () if evaluated.error else sorted(missing):
            row = f"exp_name={exp_id}, eval_seed={eval_seed}"
            self.add(Finding("row-missing", f"{folder}/detections.safetensors", "this run is not there", row=row))
        found = self._text(path)
        if found is None:
            self.add(Finding("missing", path, "cannot be read"))
        elif rows:
            self._compare(path, "results", rows, found)
        return rows

    def _config_digest(self, path: str) -> str:
        try:
            document = load_yaml(self.root / path, path)
            if isinstance(document, dict):
                return config_digest(document)
            self.add(Finding("malformed", path, "is not a configuration"))
        except EvidenceError as error:
            self.add(Finding("malformed", path, self._shorten(str(error))))
        return NO_DIGEST

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
        """The timing rows: measured, so not recomputable, but bound to checkpoints of the suite."""
        if self.suite.timing is None:
            return []
        path = "timing/timing.tsv"
        try:
            rows = read_tsv(self.root / path, "timing")
        except EvidenceError as error:
            self.add(Finding("malformed", path, self._shorten(str(error))))
            return None
        known = {row.exp_id: row for row in self.suite.rows}
        for row in rows:
            place = f"exp_id={row['exp_id']}, train_seed={row['train_seed']}"
            spec = known.get(row["exp_id"])
            if spec is None:
                self.add(Finding("row-extra", path, "nothing asks for this row", row=place))
                continue
            wanted = {
                "ckpt_sha256": self.digests.get(row["ckpt_path"], "nothing"),
                "sample_step": spec.sample_step,
                "inference_fps": 1.0 / row["inference_s_per_img"],
            }
            for column, value in wanted.items():
                if row[column] != value:
                    kind = "stale" if column == "ckpt_sha256" else "row-edited"
                    message = "does not fit the checkpoint, the suite or the time"
                    finding = Finding(kind, path, message, place, column, str(value), str(row[column]))  # type: ignore[arg-type]
                    self.add(self._name_swap(finding))
        for exp_id in sorted(set(known) - {row["exp_id"] for row in rows}):
            self.add(Finding("row-missing", path, "this row was not timed", row=f"exp_id={exp_id}"))
        return rows

    def _tables(self, runs: list[Row], timing: list[Row]) -> None:
        try:
            files = build_all(self.suite, runs, timing)
            manifest = manifest_rows(self.suite, runs, self.digests)
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

    def _other_tables(self) -> None:
        """What cannot be recomputed is well formed at least, and the page says what the tables say."""
        paths = {f"train/{name}/seed{seed}/curve.tsv": "curve" for name, seed in self.suite.train_jobs}
        if self.suite.attention is not None:
            paths["attention/attention.tsv"] = "attention"
        for path, schema in paths.items():
            if path in self.digests:
                try:
                    read_tsv(self.root / path, schema)
                except EvidenceError as error:
                    self.add(Finding("malformed", path, self._shorten(str(error))))
        self._report()

    def _report(self) -> None:
        found = self._text("report.html")
        if found is None and "report.html" in self.digests:
            self.add(Finding("malformed", "report.html", "is not UTF-8 text"))
        for name in figure_names(self.suite):
            if f"figures/{name}.svg" in self.digests:
                try:
                    read_svg(self.root, name)
                except (EvidenceError, OSError) as error:
                    self.add(Finding("unsafe", f"figures/{name}.svg", str(error)))
        try:
            expected = render_report(self.root, self.suite)
        except (EvidenceError, OSError):
            return  # a table or figure is damaged: named already
        if found is None or found == expected:
            return
        generator = next(line for line in expected.split("\n") if 'name="generator"' in line)
        if generator not in found:
            self.result.notes.append("report.html was made by another version of C2O and was not compared")
            return
        self.add(*compare_text("report.html", expected, found))


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
