"""Recomputing the runs: AP from the stored detections, every row bound to a re-hashed checkpoint.

What comes out is the results TSV that each evaluation should have written, and what its detections say.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_DATA_MANIFEST, MAX_DETECTIONS_PER_IMAGE, MAX_JSON_VALUES
from c2o_evidence.plain_file import read_plain
from c2o_evidence.suite import Suite
from c2o_evidence.verify.findings import Finding
from c2o_evidence.verify.records import DATA

if TYPE_CHECKING:
    from c2o_evidence.analysis.run import Analyst, RunAnalysis

PARALLEL_FROM = 12  # runs; below, starting processes takes longer than the work
RunKey = tuple[str, int]  # exp_id, eval seed

_truth: Any = None  # the annotations, indexed once a process
_analysts: dict[tuple[str, ...], Analyst] = {}  # those with their classes; nearly always one


@dataclass(frozen=True)
class Task:
    """One detections file, the runs that it should hold, and whether to look closer at them than AP."""

    path: str
    keys: tuple[RunKey, ...]
    closer: bool = False


@dataclass
class Evaluated:
    """Metrics by run, what is counted in its detections (if asked for), a digest of them (None where there are none),
    and why the file is unusable.
    """

    metrics: dict[RunKey, dict[str, float]] = field(default_factory=dict)
    content: dict[RunKey, str | None] = field(default_factory=dict)
    analyses: dict[RunKey, RunAnalysis] = field(default_factory=dict)
    extra: list[RunKey] = field(default_factory=list)
    class_names: tuple[str, ...] = ()
    error: str = ""


def _load_truth(path: str) -> None:
    global _truth  # one a worker process: the annotations are parsed once
    _analysts.clear()
    from c2o_evidence.annotations import load_ground_truth

    try:
        _truth = load_ground_truth(path)
    except EvidenceError as error:
        _truth = error  # raised with the first task: a worker that fails here is only gone


def _analyst(class_names: tuple[str, ...]) -> Analyst:
    from c2o_evidence.analysis.run import Analyst

    if class_names not in _analysts:
        _analysts[class_names] = Analyst(_truth, class_names)
    return _analysts[class_names]


def evaluate_file(task: Task) -> Evaluated:
    """AP of all runs in one file of detections; for worker processes, after `_load_truth`."""
    from c2o_evidence.detections import read_class_names, read_detections
    from c2o_evidence.metrics import coco_metrics

    if isinstance(_truth, EvidenceError):
        raise _truth
    result = Evaluated()
    try:
        runs = read_detections(task.path, MAX_DETECTIONS_PER_IMAGE * len(_truth.images))
        result.class_names = read_class_names(task.path) or tuple(_truth.class_names)
        for key in task.keys:
            if key in runs:
                detections = runs[key]
                result.metrics[key] = coco_metrics(_truth, detections, result.class_names)
                if task.closer:  # behind the metrics, which refuse classes that the annotations do not have
                    result.analyses[key] = _analyst(result.class_names).analyse(detections)
                digest = hashlib.sha256()
                for name in ("image_id", "box", "score", "label"):
                    digest.update(getattr(detections, name).tobytes())
                result.content[key] = digest.hexdigest() if len(detections) else None
        result.extra = sorted(set(runs) - set(task.keys))
    except EvidenceError as error:
        result.error = str(error)
    return result


def evaluate_all(
    truth: Path,
    tasks: Sequence[Task],
    *,
    jobs: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Evaluated]:
    """`evaluate_file` for every task, in order, in `jobs` processes (default: 2). `progress(n)`: n runs done.

    Raises TableError if the annotations are unusable, EvidenceError if the system ended a process.
    """
    n_runs = sum(len(task.keys) for task in tasks)
    results = []
    if n_runs < PARALLEL_FROM or jobs == 1:
        _load_truth(str(truth))
        done = map(evaluate_file, tasks)
        for task, result in zip(tasks, done, strict=True):
            results.append(result)
            if progress is not None:
                progress(len(task.keys))
        return results
    # spawn: the caller may have threads (progress display), which do not survive a fork safely.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs or 2, context, initializer=_load_truth, initargs=(str(truth),)) as pool:
            for task, result in zip(tasks, pool.map(evaluate_file, tasks), strict=True):
                results.append(result)
                if progress is not None:
                    progress(len(task.keys))
    except BrokenProcessPool:
        raise EvidenceError("a process that recomputes AP was ended, for memory most likely; use --jobs 1") from None
    return results


def read_json(path: Path, most: int) -> dict[str, Any] | None:
    """A JSON mapping in a file of at most `most` bytes, or None if there is none to read."""
    try:
        value = parse_json(read_plain(path, most), most=MAX_JSON_VALUES // 4)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def data_digest(root: Path, suite: Suite, digests: Mapping[str, str]) -> tuple[str, list[Finding]]:
    """The data set's digest, from its manifest, and findings where manifest, annotations and suite do not fit
    together.
    """
    path = DATA
    document = read_json(root / path, MAX_DATA_MANIFEST) or {}
    files = document.get("files")
    if not isinstance(files, dict) or not isinstance(document.get("sha256"), str):
        return "", [Finding("malformed", path, "is not a data manifest")]
    findings = []
    try:
        lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files)).encode()
        annotation = str(document["splits"]["val"]["annotation"])
        listed = str(files[annotation]["sha256"])
    except (KeyError, TypeError, ValueError):
        return "", [Finding("malformed", path, "lacks a digest, or the split 'val'")]
    whole = hashlib.sha256(lines).hexdigest()
    if whole != document["sha256"]:
        message = "the digest of the whole does not follow from those of the files"
        findings.append(Finding("stale", path, message, column="sha256", expected=whole, found=document["sha256"]))
    if listed != digests.get("data/val.json"):
        findings.append(
            Finding(
                "stale",
                "data/val.json",
                f"is not the {annotation} of data/manifest.json",
                expected=listed,
                found=digests.get("data/val.json", ""),
            )
        )
    annotations = root / "data" / "val.json"
    said: dict[str, tuple[Any, Any]] = {"name": (suite.data_name, document.get("name"))}
    if "data/val.json" in digests:
        said["bytes"] = (annotations.stat().st_size, files[annotation].get("bytes"))
    if "sha256" in suite.data_config:
        said["sha256"] = (suite.data_config["sha256"], document["sha256"])
    config = document.get("config")
    if isinstance(config, dict) and suite.data_config.get("kind") == "digits":  # it holds the configuration itself
        said |= {f"config.{key}": (value, config[key]) for key, value in suite.data_config.items() if key in config}
    for column, (expected, found) in said.items():
        if found != expected:
            message = "is not that of the data set of suite.yaml"
            findings.append(Finding("stale", path, message, "", column, str(expected), str(found)))
    return str(document["sha256"]), findings


def expected_rows(
    suite: Suite,
    experiment: str,
    seed: int,
    identity: Mapping[str, str],
    evaluated: Evaluated,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """The rows (schema `results`) of one evaluation.

    `identity`: the digest columns, the same in every row.
    """
    from c2o_evidence.metrics import METRICS, OF_SOME_SETS

    columns = [*METRICS, *(f"AP-{name}" for name in class_names)]
    rows = []
    for row in suite.rows_of(experiment):
        for eval_seed in suite.eval_seeds:
            metrics = evaluated.metrics.get((row.exp_id, eval_seed))
            if metrics is None:
                continue
            rows.append(
                {
                    "exp_name": row.exp_id,
                    **identity,
                    "train_seed": seed,
                    "eval_seed": eval_seed,
                    "sample_step": row.sample_step,
                    **{name: metrics[name] for name in columns},
                    **{name: metrics[name] for name in metrics if name.startswith(tuple(OF_SOME_SETS))},
                }
            )
    return rows
