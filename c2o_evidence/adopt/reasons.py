"""What has changed since a job ran: the configuration key, the sources, the data set, the rows, the parents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from c2o_evidence.adopt.jobs import CHECKPOINT, SuiteJob
from c2o_evidence.adopt.layout import Layout
from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.errors import EvidenceError
from c2o_evidence.model_config import flat
from c2o_evidence.records import Record
from c2o_evidence.tsv import read_tsv
from c2o_evidence.yaml_file import load_yaml

SHOWN = 4
PARTS = {"eval": "evaluate"}


def what_differs(job: SuiteJob, record: Record, layout: Layout) -> list[str]:
    """What can be named of the reasons why the record names another digest than the job has now."""
    reasons = [*_sources(job, record, layout)]
    if job.kind == "train":
        reasons += _training(job, layout)
    elif job.kind == "eval":
        reasons += _evaluation(job, layout)
    return reasons


def _sources(job: SuiteJob, record: Record, layout: Layout) -> Iterator[str]:
    part = PARTS.get(job.kind, job.kind)
    now = layout.code(part)
    if record.code_sha256 != now:
        yield f"code: the sources of `{part}` have changed: expected {now}, found {record.code_sha256}"


def _training(job: SuiteJob, layout: Layout) -> Iterator[str]:
    _, experiment, seed = job.place.split("/")
    recipe = layout.suite.recipe(experiment, int(seed.removeprefix("seed")))
    folder = f"results/{layout.suite.name}/{job.place}"
    try:
        then = load_yaml(layout.path(f"{folder}/config.yaml"), f"{folder}/config.yaml")
        metadata = read_metadata(layout.path(f"{folder}/{CHECKPOINT}"))
    except EvidenceError as error:
        yield str(error)
        return
    yield from _changed_keys(flat(then), flat(recipe.config))
    if metadata.get("data_sha256", recipe.data_sha256) != recipe.data_sha256:
        yield f"data set: {layout.suite.dataset} describes another one"
    if metadata.get("train_seed", str(recipe.seed)) != str(recipe.seed):
        yield f"train seed: was {metadata['train_seed']}, now {recipe.seed}"


def _changed_keys(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    keys = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
    for key in keys[:SHOWN]:
        was, is_now = (repr(values[key]) if key in values else "not set" for values in (then, now))
        yield f"configuration: {key}: was {was}, now {is_now}"
    if len(keys) > SHOWN:
        yield f"configuration: … and {len(keys) - SHOWN} more keys"


def _evaluation(job: SuiteJob, layout: Layout) -> Iterator[str]:
    _, experiment, _ = job.place.split("/")
    suite, path = layout.suite, f"results/{layout.suite.name}/{job.place}/results.tsv"
    try:
        rows = read_tsv(layout.path(path), "results")
    except EvidenceError as error:
        yield str(error)
        return
    then = {row["exp_name"]: row["sample_step"] for row in rows}
    now = {row.exp_id: row.sample_step for row in suite.rows_of(experiment)}
    yield from (f"configuration: rows: {text.removeprefix('configuration: ')}" for text in _changed_keys(then, now))
    seeds = sorted({row["eval_seed"] for row in rows})
    if seeds != sorted(suite.eval_seeds):
        yield f"configuration: eval_seeds: was {seeds}, now {sorted(suite.eval_seeds)}"
