"""Whether what lies there is what the suite and the sources would make now: job by job, from records and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from c2o_evidence.adopt.data_set import check_data, data_files_of
from c2o_evidence.adopt.frozen import State, check_frozen, frozen_files
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

SOMETHING_ELSE = {
    "train": "configuration: a recipe that this one builds on differs",
    "eval": "configuration: test-time options of a row, or the recipe, differ",
    "timing": "configuration: the section `timing`, the rows or their recipes differ",
    "attention": "configuration: the section `attention` differs",
    "gallery": "configuration: the section `gallery`, its rows or their recipes differ",
    "parity": "configuration: rows of other stacks, or their evaluations, differ",
    "tables": "configuration: titles, rows, comparisons or results of the suite differ",
}
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
    names = [name for job in suite_jobs(layout.suite, layout.extent) for name in job.outputs]
    return [*dict.fromkeys([*names, *data_files_of(layout), *frozen_files(layout)])]


def check_suite(layout: Layout, progress: Progress | None = None) -> dict[str, Verdict]:
    """A verdict for each job of the suite, by place, parents first.

    Everything is hashed. A job is current only if the jobs are that its inputs come from.

    Raises:
        SuiteError: a model file is wrong.
    """
    layout.hash(files_to_hash(layout), progress)
    verdicts: dict[str, Verdict] = {}
    for job in suite_jobs(layout.suite, layout.extent):
        verdicts[job.place] = _judge(job, layout, verdicts)
    return verdicts


def _judge(job: SuiteJob, layout: Layout, verdicts: dict[str, Verdict]) -> Verdict:
    made_again = [verdicts[place].job.title for place in job.parents if verdicts[place].state != "current"]
    if job.kind in ("figures", "bundle", "verify", "deliver"):
        state, reasons = check_frozen(job.kind, layout)
        if state != "missing" and made_again:
            state = "stale"
    elif not any(layout.there(name) for name in job.outputs):
        return Verdict(job, "missing")
    elif job.kind == "data":
        state, reasons = check_data(layout)
    elif job.kind == "manifest":
        reasons = [*_absent(job, layout)] or ([] if made_again else [*_of_index(layout)])
        state = "stale" if reasons or made_again else "current"
    else:
        reasons = [*_absent(job, layout)] or _of_record(job, layout, parents_hold=not made_again)
        state = "stale" if reasons or made_again else "current"
    if made_again and not reasons and state != "missing":
        reasons = [f"is made from the {title}, which will be made again" for title in made_again[:2]]
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


def _of_record(job: SuiteJob, layout: Layout, *, parents_hold: bool) -> list[str]:
    """Faults by the record; of what the job has read only where its parents are not to be made again anyway."""
    assert job.record is not None
    try:
        record = read_record(layout.path(job.record))
    except EvidenceError as error:
        return [str(error).replace(str(layout.path(job.record)), job.record)]
    made = [name for name in job.outputs if name != job.record]
    reasons = [*_another_job(job, record, layout)] or [
        *_files("has written", record.products, made, job.record, layout)
    ]
    if job.kind == "train" and not reasons:
        reasons = [*_sidecar(job, layout)]
    fits = job.digest in (record.parameters.get("recipe"), record.parameters.get("digest"))
    if not fits:
        reasons += what_differs(job, record, layout)
    if reasons or not parents_hold:
        return reasons
    if not fits:
        return [SOMETHING_ELSE.get(job.kind, "configuration: what it is made of differs")]
    reasons = [*_files("has read", record.materials, job.inputs, job.record, layout)]
    return reasons or ([*_ancestry(job, layout)] if job.kind == "train" else [])


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


def _sidecar(job: SuiteJob, layout: Layout) -> Iterator[str]:
    folder = f"results/{layout.suite.name}/{job.place}"
    try:
        promised = read_sidecar(layout.path(f"{folder}/{CHECKPOINT}"))
    except EvidenceError as error:
        yield str(error).replace(str(layout.path(folder)), folder)
        return
    found = layout.digests[f"{folder}/{CHECKPOINT}"]
    if promised != found:
        yield f"{folder}/{SIDECAR}: promises {promised}, found {found}"


def _ancestry(job: SuiteJob, layout: Layout) -> Iterator[str]:
    """What the checkpoint says in its own header of the recipe and of the parents it came from."""
    folder = f"results/{layout.suite.name}/{job.place}"
    model = f"{folder}/{CHECKPOINT}"
    try:
        metadata = read_metadata(layout.path(model))
    except EvidenceError as error:
        yield str(error).replace(str(layout.path(folder)), folder)
        return
    _, experiment, seed = job.place.split("/")
    recipe = layout.suite.recipe(experiment, int(seed.removeprefix("seed")))
    wanted = {"recipe_sha256": recipe.digest, "train_seed": str(recipe.seed)}
    for role, parent in (("init", recipe.init), ("teacher", recipe.teacher)):
        if parent is not None:
            name = f"results/{layout.suite.name}/train/{parent.experiment}/seed{parent.seed}/{CHECKPOINT}"
            wanted[f"{role}_sha256"] = layout.digests[name]
    for key, expected in wanted.items():
        if (found := metadata.get(key, expected)) != expected:
            yield f"{model}: says of itself {key} {found}, expected {expected}"
