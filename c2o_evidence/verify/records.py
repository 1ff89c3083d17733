"""Records against the bundle: what a job says it read and wrote is what lies there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import RecordedFile, read_record
from c2o_evidence.suite import Suite
from c2o_evidence.sums import first_owners
from c2o_evidence.verify.findings import Finding


def record_paths(suite: Suite) -> dict[str, str]:
    """Each record of a suite with the checkpoint directory it must speak of (empty where there is none)."""
    paths = {f"train/{name}/seed{seed}/record.json": f"train/{name}/seed{seed}/" for name, seed in suite.train_jobs}
    paths |= {f"eval/{name}/seed{seed}/record.json": f"train/{name}/seed{seed}/" for name, seed in suite.eval_jobs}
    for part in ("timing", "attention"):
        if getattr(suite, part) is not None:
            paths[f"{part}/record.json"] = ""
    return paths | {"tables/record.json": ""}


def check_records(root: Path, suite: Suite, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Findings where a record's digests do not fit the files, or a record speaks of another job's files."""
    owners = first_owners(digests)
    for path, folder in record_paths(suite).items():
        if path not in digests:
            continue
        try:
            record = read_record(root / path)
        except EvidenceError as error:
            yield Finding("malformed", path, str(error).replace(f"{root}/", ""))
            continue
        own = path.rsplit("/", 1)[0] + "/"
        for kind, files in (("read", record.materials), ("written", record.products)):
            for file in files:
                here = _in_bundle(suite, file)
                if here is None:
                    continue
                found = digests.get(here)
                if kind == "written" and not file.path.startswith((own, "figures/", "manifest.tsv")):
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
        told = {key: str(record.parameters.get(key, value)) for key, value in _place(path).items()}
        if told != _place(path):
            yield Finding("swapped", path, f"is the record of {told}", expected=str(_place(path)), found=str(told))
        named = [file.path for file in (*record.materials, *record.products) if file.base == "suite"]
        if folder and not any(name.startswith(folder) for name in named):
            yield Finding("stale", path, f"names no file of {folder}")


def _in_bundle(suite: Suite, file: RecordedFile) -> str | None:
    """Where a recorded file lies in the bundle; None for one that is not part of it."""
    if file.base == "suite":
        return file.path
    return "data/manifest.json" if file.path == f"data/{suite.data_name}/manifest.json" else None


def _place(path: str) -> dict[str, str]:
    """Experiment and seed of `train/EXP/seedS/…` and `eval/EXP/seedS/…`; empty for other records."""
    parts = path.split("/")
    return {"experiment": parts[1], "seed": parts[2].removeprefix("seed")} if len(parts) == 4 else {}


def other_environments(root: Path, suite: Suite, digests: Mapping[str, str]) -> list[str]:
    """Records whose environment lock is not the bundle's `environment/lock.txt`, sorted.

    Unreadable ones are left out.
    """
    lock = digests.get("environment/lock.txt")
    others = []
    for path in record_paths(suite):
        if path in digests and lock is not None:
            with suppress(EvidenceError):
                if read_record(root / path).lock_sha256 != lock:
                    others.append(path)
    return sorted(others)
