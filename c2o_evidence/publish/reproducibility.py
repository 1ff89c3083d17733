"""The machine learning reproducibility checklist (Pineau and others, version 2.0), filled in from a bundle.

Its items have no numbers: they are numbered here in its order within its five parts. The words are ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from c2o_evidence.publish.items import Item, Status, count
from c2o_evidence.publish.source import Source

REPRODUCIBILITY = "ML reproducibility checklist"
TRAINING = ("train", "distill")


def _item(name: str, status: Status, answer: str, source: Source, *paths: str) -> Item:
    return Item(REPRODUCIBILITY, name, status, answer, tuple(source.link(path) for path in paths))


def _data(source: Source) -> Iterator[Item]:
    paths = [path for path in source.digests if path.startswith("data/")]
    status: Status = "in part" if paths else "authors"
    held = "Annotations of what was evaluated on, and the digest of every file of the data set, are in data/."
    answer = held if paths else "There is no data set in this bundle."
    yield _item("Data 1. Statistics", status, answer, source, *paths)
    yield _item("Data 2. Splits", status, answer, source, *paths)
    for name in (
        "Data 3. Exclusions and preprocessing",
        "Data 4. Where to get it",
        "Data 5. How new data was collected",
    ):
        yield _item(name, "authors", "How the data came to be and where it lies is not in the evidence.", source)


def _code(source: Source) -> Iterator[Item]:
    answer = "Every package with version and hash is in the environment lock."
    yield _item("Code 1. Dependencies", "evidence", answer, source, "environment/lock.txt")
    for name, rules in (("Code 2. Training code", TRAINING), ("Code 3. Evaluation code", ("evaluate",))):
        digests = sorted({digest[:12] for rule in rules for digest in source.code(rule)})
        # One record for each digest proves it.
        ran = {record.code_sha256: path for path, record in source.records.items() if record.rule in rules}
        answer = f"Not in the bundle; its digest is ({', '.join(digests)}). Say where it is published."
        yield _item(name, "in part" if ran else "authors", answer if ran else "No such job.", source, *ran.values())
    models = [path for path in source.digests if path.endswith("/model.safetensors")]
    held = f"{count(len(models), 'checkpoint')} in the bundle, each with its digest."
    yield _item("Code 4. Trained models", "evidence" if models else "authors", held, source, *models)
    answer = "README.md of the bundle has the table and the commands that check it."
    yield _item("Code 5. README with results and commands", "in part", answer, source, "README.md")


def _results(source: Source) -> Iterator[Item]:
    if not source.suite.rows:
        return
    configs = [f"train/{name}/seed{source.suite.seeds_of(name)[0]}/config.yaml" for name in source.suite.needed]
    answer = "All values that were used are in the merged configurations; which others were tried is not."
    yield _item("Results 1. Hyper-parameters: range, choice, values", "in part", answer, source, *configs)
    trained = {path: record for path, record in source.records.items() if record.rule in TRAINING}
    answer = f"{count(len(trained), 'training')}, {count(len(source.runs), 'evaluation run')}; tuning is not counted."
    yield _item("Results 2. Number of runs", "evidence", answer, source, "tables/runs.tsv", *trained)
    answer = "AP of COCO, recomputed from the stored detections by `c2o verify --level tables`."
    yield _item("Results 3. Definition of the measure", "evidence", answer, source, "tables/summary.tsv")
    answer = "Mean, population and sample deviation, and 95 % interval of every row; each single run beside them."
    paths = ("tables/summary.tsv", "tables/runs.tsv")
    yield _item("Results 4. Central tendency and variation", "evidence", answer, source, *paths)
    # A checkpoint that was taken over has the time of the copy: it says nothing of training.
    own = {path: record for path, record in trained.items() if "taken_from" not in record.parameters}
    total = sum(record.seconds for record in own.values())
    answer = f"{total / len(own):.0f} s a training, over {len(own)}. " if own else ""
    answer += "Energy was not measured."
    yield _item("Results 5. Average run time or energy", "in part" if own else "authors", answer, source, *own)
    answer = "; ".join(f"{name} ({count(jobs, 'job')})" for name, jobs in source.hosts().items())
    yield _item("Results 6. Computing infrastructure", "evidence", answer, source, *source.records)


def reproducibility(source: Source) -> Iterator[Item]:
    """The items in the checklist's order."""
    for name in ("Models 1. Setting and algorithm", "Models 2. Assumptions", "Models 3. Complexity"):
        yield _item(name, "authors", "For the paper.", source)
    for name in ("Theory 1. Statement of claims", "Theory 2. Proofs"):
        yield _item(name, "authors", "A bundle holds no proofs.", source)
    yield from _data(source)
    yield from _code(source)
    yield from _results(source)
