"""Whether what lies there is what the suite and the sources would make now: job by job, from records and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from c2o_evidence.adopt.data_set import check_data, data_files_of
from c2o_evidence.adopt.frozen import check_frozen, frozen_files
from c2o_evidence.adopt.jobs import CHECKPOINT, SIDECAR, SuiteJob, suite_jobs
from c2o_evidence.adopt.layout import Layout, Progress
from c2o_evidence.adopt.reasons import what_differs
from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.digests import read_sidecar
from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import Record, RecordedFile, read_record
from c2o_evidence.tables import manifest_rows
from c2o_evidence.tables.build import read_runs
from c2o_evidence.tsv import format_tsv

State = Literal["current", "missing", "stale", "unproven"]
RULES = {"train": ("train", "distill"), "eval": ("evaluate",)}


@dataclass(frozen=True)
class Verdict:
    """What was found about a job.

    `current`: its files are what it would make now. `missing`: nothing of it lies there. `stale`: something lies there
    that it would not make, for `reasons`. `unproven`: nothing here says what its files came from.
    """

    job: SuiteJob
    state: State
    reasons: tuple[str, ...] = ()


def files_to_hash(layout: Layout) -> list[str]:
    """All that `check_suite` will hash, for a progress bar."""
    names = [name for job in suite_jobs(layout.suite) for name in job.outputs]
    return [*dict.fromkeys([*names, *data_files_of(layout), *frozen_files(layout)])]


def check_suite(layout: Layout, progress: Progress | None = None) -> dict[str, Verdict]:
    """A verdict for each job of the suite, by place, parents first.

    Everything is hashed. A job is current only if the jobs are that its inputs come from.

    Raises:
        SuiteError: a model file is wrong.
    """
    layout.hash(files_to_hash(layout), progress)
    verdicts: dict[str, Verdict] = {}
    for job in suite_jobs(layout.suite):
        verdicts[job.place] = _judge(job, layout, verdicts)
    return verdicts


def _judge(job: SuiteJob, layout: Layout, verdicts: dict[str, Verdict]) -> Verdict:
    made_again = [verdicts[place].job.title for place in job.parents if verdicts[place].state != "current"]
    if job.kind in ("figures", "bundle", "verify", "deliver"):
        state, reasons = check_frozen(job.kind, layout)
        if state == "current" and made_again:
            state = "stale"
    elif not any(layout.there(name) for name in job.outputs):
        return Verdict(job, "missing")
    elif job.kind == "data":
        state, reasons = check_data(layout)
    else:
        reasons = [*_absent(job, layout)] or [*(_of_record(job, layout) if job.record else _of_index(layout))]
        state = "stale" if reasons or made_again else "current"
    if state != "missing":
        reasons += [f"is made from the {title}, which will be made again" for title in made_again[:2]]
        reasons += [f"… and from {len(made_again) - 2} more"] if len(made_again) > 2 else []
    return Verdict(job, state, tuple(reasons))


def _absent(job: SuiteJob, layout: Layout) -> Iterator[str]:
    for name in job.outputs:
        if name not in layout.digests:
            yield f"{name}: {layout.faults.get(name, 'is missing')}"


def _of_index(layout: Layout) -> Iterator[str]:
    """`manifest.tsv` has no record, but follows from the results."""
    suite, name = layout.suite, f"results/{layout.suite.name}/manifest.tsv"
    below = f"results/{suite.name}/"
    digests = {path.removeprefix(below): digest for path, digest in layout.digests.items() if path.startswith(below)}
    try:
        rows = manifest_rows(suite, read_runs(layout.path(below), suite), digests)
        text = format_tsv(rows, "manifest", "manifest.tsv")
    except (EvidenceError, StopIteration, KeyError):
        yield f"{name}: the results that it indexes cannot be read"
        return
    if layout.path(name).read_bytes() != text.encode("utf-8"):
        yield f"{name}: does not follow from the results that lie here"


def _of_record(job: SuiteJob, layout: Layout) -> Iterator[str]:
    assert job.record is not None
    try:
        record = read_record(layout.path(job.record))
    except EvidenceError as error:
        yield str(error).replace(str(layout.path(job.record)), job.record)
        return
    other = [*_another_job(job, record, layout)]
    if other:
        yield from other
        return
    yield from _files("has written", record.products, [n for n in job.outputs if n != job.record], job.record, layout)
    yield from _files("has read", record.materials, job.inputs, job.record, layout)
    if job.kind == "train":
        yield from _checkpoint(job, layout)
    if job.digest not in (record.parameters.get("recipe"), record.parameters.get("digest")):
        yield from what_differs(job, record, layout)


def _another_job(job: SuiteJob, record: Record, layout: Layout) -> Iterator[str]:
    if record.rule not in RULES.get(job.kind, (job.kind,)):
        yield f"{job.record}: is the record of the rule {record.rule}"
    expected = {"suite": layout.suite.name}
    if job.kind in ("train", "eval"):
        _, experiment, seed = job.place.split("/")
        expected |= {"experiment": experiment, "seed": seed.removeprefix("seed")}
    for key, value in expected.items():
        if str(record.parameters.get(key)) != value:
            yield f"{job.record}: is of the {key} {record.parameters.get(key)}, not of {value}"


def _files(
    verb: str, recorded: tuple[RecordedFile, ...], wanted: list[str] | tuple[str, ...], record: str, layout: Layout
) -> Iterator[str]:
    """Faults of what a job has written or read: each file that it should name, with the bytes that lie there."""
    base = {"suite": f"results/{layout.suite.name}/", "repository": ""}
    named = {base[file.base] + file.path: file.sha256 for file in recorded}
    for name in dict.fromkeys(wanted):
        if name not in named:
            yield f"{record}: does not say that the job {verb} {name}"
        elif name not in layout.digests:
            yield f"{name}: {layout.faults.get(name, 'is missing')}"
        elif layout.digests[name] != named[name]:
            yield f"{name}: is not what the job {verb}: sha256 expected {named[name]}, found {layout.digests[name]}"
    for name in sorted(named.keys() - set(wanted)):
        yield f"{record}: the job {verb} {name}, which the suite does not ask for now"


def _checkpoint(job: SuiteJob, layout: Layout) -> Iterator[str]:
    """The sidecar, and what the checkpoint says of itself: its recipe and the parents it came from."""
    folder = f"results/{layout.suite.name}/{job.place}"
    model = f"{folder}/{CHECKPOINT}"
    try:
        promised = read_sidecar(layout.path(model))
        metadata = read_metadata(layout.path(model))
    except EvidenceError as error:
        yield str(error).replace(str(layout.path(folder)), folder)
        return
    if promised != layout.digests[model]:
        yield f"{model}: {SIDECAR} promises {promised}, found {layout.digests[model]}"
    _, experiment, seed = job.place.split("/")
    recipe = layout.suite.recipe(experiment, int(seed.removeprefix("seed")))
    for role, parent in (("init", recipe.init), ("teacher", recipe.teacher)):
        if parent is None:
            continue
        name = f"results/{layout.suite.name}/train/{parent.experiment}/seed{parent.seed}/{CHECKPOINT}"
        told, found = metadata.get(f"{role}_sha256"), layout.digests.get(name)
        if told is not None and found is not None and told != found:
            yield f"{model}: came from another {role} than {name}: expected {told}, found {found}"
