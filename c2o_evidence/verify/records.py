"""Records against the bundle: what a job says it read and wrote is what lies there, and all of it.

A record that left out a file would not bind it, so what each job reads and writes follows from the suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.bundle import EVAL_FILES, TRAIN_FILES, table_files
from c2o_evidence.errors import EvidenceError
from c2o_evidence.extent import NOW, Extent
from c2o_evidence.hardware import fingerprint_id
from c2o_evidence.records import Record, RecordedFile, read_record
from c2o_evidence.suite import Suite
from c2o_evidence.suite_gallery import gallery_checkpoints
from c2o_evidence.suite_stack import twin_jobs
from c2o_evidence.sums import first_owners
from c2o_evidence.verify.findings import Finding

RECORD = "record.json"
DATA = "data/manifest.json"


@dataclass(frozen=True)
class Job:
    """What the record of a job must say, by the suite alone: its rule, what it was told, read and wrote."""

    rule: str
    told: Mapping[str, str]
    materials: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    place: Mapping[str, str] = field(default_factory=dict)


def checkpoint_path(experiment: str, seed: int) -> str:
    """Where the checkpoint of a training lies in a bundle."""
    return f"train/{experiment}/seed{seed}/model.safetensors"


def parents_of(suite: Suite, experiment: str, seed: int) -> dict[str, str]:
    """Checkpoints that a training starts or learns from, by role (`init`, `teacher`)."""
    spec = suite.experiment(experiment)
    roles = {role: name for role, name in (("init", spec.init), ("teacher", spec.teacher)) if name is not None}
    return {role: checkpoint_path(name, suite.seed_of(name, seed)) for role, name in roles.items()}


def jobs_of(suite: Suite, extent: Extent = NOW) -> dict[str, Job]:
    """Every job of a suite that leaves a record, by the record's path."""
    jobs = {}
    for name, seed in suite.train_jobs:
        folder, rule = f"train/{name}/seed{seed}", "distill" if suite.experiment(name).teacher else "train"
        read = (DATA, *parents_of(suite, name, seed).values())
        jobs[f"{folder}/{RECORD}"] = _job(suite, rule, folder, read, TRAIN_FILES, experiment=name, seed=str(seed))
    for name, seed in suite.eval_jobs:
        folder, model = f"eval/{name}/seed{seed}", checkpoint_path(name, seed)
        jobs[f"{folder}/{RECORD}"] = _job(
            suite, "evaluate", folder, (DATA, model), EVAL_FILES, experiment=name, seed=str(seed)
        )
    if suite.timing is not None:
        seed = suite.timing.train_seed
        timed = {checkpoint_path(n, suite.seed_of(n, seed)): None for n in suite.evaluated}
        jobs[f"timing/{RECORD}"] = _job(suite, "timing", "timing", (DATA, *timed), ("timing.tsv",))
    if suite.attention is not None:
        jobs[f"attention/{RECORD}"] = _job(suite, "attention", "attention", (), ("attention.tsv",))
    if suite.parity:
        jobs[f"parity/{RECORD}"] = _job(suite, "parity", "parity", (DATA, *_twin_files(suite)), ("parity.tsv",))
    if suite.gallery is not None:
        shown = [checkpoint_path(name, seed) for name, seed in gallery_checkpoints(suite)]
        jobs[f"gallery/{RECORD}"] = _job(suite, "gallery", "gallery", (DATA, *shown), suite.gallery.files)
    evaluated = ("results.tsv", "detections.safetensors") if extent.edition > 1 else ("results.tsv",)
    read = tuple(f"eval/{name}/seed{seed}/{file}" for name, seed in suite.eval_jobs for file in evaluated)
    read += ("timing/timing.tsv",) if suite.timing is not None else ()
    read += (DATA,) if suite.rows and extent.edition > 1 else ()
    jobs[f"tables/{RECORD}"] = _job(suite, "tables", "tables", read, table_files(extent))
    return jobs


def _twin_files(suite: Suite) -> Iterator[str]:
    for name, seed in twin_jobs(suite):
        yield from (f"eval/{name}/seed{seed}/{file}" for file in ("results.tsv", "detections.safetensors"))


def _job(suite: Suite, rule: str, folder: str, read: tuple[str, ...], wrote: tuple[str, ...], **place: str) -> Job:
    products = tuple(f"{folder}/{name}" for name in wrote if name != RECORD)
    return Job(rule, {"suite": suite.name, **place}, read, products, place)


def read_records(root: Path, suite: Suite, digests: Mapping[str, str]) -> tuple[dict[str, Record], list[Finding]]:
    """The records of a suite by path, and findings for those that cannot be read."""
    records, findings = {}, []
    for path in jobs_of(suite):
        if path in digests:
            try:
                records[path] = read_record(root / path)
            except EvidenceError as error:
                findings.append(Finding("malformed", path, str(error).replace(f"{root}/", "")))
    return records, findings


def check_records(
    root: Path, suite: Suite, digests: Mapping[str, str], records: Mapping[str, Record], extent: Extent = NOW
) -> Iterator[Finding]:
    """Findings where a record does not fit the files or the suite, or speaks of another job's files."""
    owners = first_owners(digests)
    jobs = jobs_of(suite, extent)
    for path, record in records.items():
        job = jobs[path]
        told = {key: str(record.parameters.get(key, "nothing")) for key in job.told}
        if told != job.told:
            kind = "swapped" if any(told[key] != value for key, value in job.place.items()) else "stale"
            yield Finding(kind, path, f"is the record of {told}", "", "", str(dict(job.told)), str(told))  # type: ignore[arg-type]
        if record.rule != job.rule:
            yield Finding("stale", path, "is the record of another rule", "", "rule", job.rule, record.rule)
        yield from _check_files(root, suite, path, record, digests, owners)
        yield from _check_whole(suite, path, record, job)
        yield from _check_host(path, record)


def _check_files(
    root: Path,
    suite: Suite,
    path: str,
    record: Record,
    digests: Mapping[str, str],
    owners: Mapping[str, str],
) -> Iterator[Finding]:
    own = path.rsplit("/", 1)[0] + "/"
    for kind, files in (("read", record.materials), ("written", record.products)):
        for file in files:
            here = _in_bundle(suite, file)
            if here is None:
                continue
            found = digests.get(here)
            if kind == "written" and not file.path.startswith(own):
                yield Finding("stale", path, f"is the record of another job: it wrote {file.path}", row=file.name)
            elif found is not None and found != file.sha256:
                owner = owners.get(file.sha256)
                message = f"{here} is not what this job has {kind}"
                yield Finding(
                    "stale" if owner is None else "swapped",
                    path,
                    message if owner is None else f"{message}: that is now {owner}",
                    row=file.name,
                    column="sha256",
                    expected=file.sha256,
                    found=found,
                )
            elif found is not None and (size := (root / here).stat().st_size) != file.bytes:
                message = f"{here} has another size than this record says"
                yield Finding("stale", path, message, file.name, "bytes", str(size), str(file.bytes))


def _check_whole(suite: Suite, path: str, record: Record, job: Job) -> Iterator[Finding]:
    """Every file that the job must have read or written is named."""
    for what, wanted, files in (
        ("read", job.materials, record.materials),
        ("written", job.products, record.products),
    ):
        named = {_in_bundle(suite, file) for file in files}
        for name in wanted:
            if name not in named:
                yield Finding("stale", path, f"does not name {name}, which its job must have {what}", row=name)


def _check_host(path: str, record: Record) -> Iterator[Finding]:
    """The short id of the hardware follows from its fingerprint, which knows the versions of some tools too."""
    said = str(record.host["hardware_id"])
    try:
        expected = fingerprint_id(dict(record.host["hardware"]))
    except (EvidenceError, KeyError, TypeError, ValueError, OverflowError):
        expected = "that of a whole fingerprint"
    for found in {said, str(record.host["hardware"].get("id"))} - {expected}:
        message = "does not follow from the fingerprint of the hardware"
        yield Finding("stale", path, message, column="hardware_id", expected=expected, found=found)
    packages = record.host["hardware"].get("packages")
    versions = {"python": record.host["hardware"].get("python")} | (packages if isinstance(packages, dict) else {})
    for name, version in versions.items():
        if name in record.tools and record.tools[name] != version:
            message = "is not the version that the fingerprint has"
            yield Finding("stale", path, message, "", f"tools.{name}", str(version), str(record.tools[name]))


def _in_bundle(suite: Suite, file: RecordedFile) -> str | None:
    """Where a recorded file lies in the bundle; None for one that is not part of it."""
    if file.base == "suite":
        return file.path
    return DATA if file.path == f"data/{suite.data_name}/manifest.json" else None


def check_lock(
    suite: Suite, digests: Mapping[str, str], records: Mapping[str, Record]
) -> tuple[list[Finding], list[str]]:
    """Whether jobs ran in the environment that `environment/lock.txt` describes: a finding if none did, else a
    note on those that did not.
    """
    path = "environment/lock.txt"
    lock = digests.get(path)
    others = sorted(name for name, record in records.items() if record.lock_sha256 != lock)
    if lock is None or not others:
        return [], []
    if len(others) == len(records):
        said = records[others[0]].lock_sha256
        message = "is not the environment that any job ran in"
        return [Finding("stale", path, message, column="lock_sha256", expected=said, found=lock)], []
    return [], [f"{len(others)} jobs ran in another environment than {path}: {', '.join(others[:3])}"]
