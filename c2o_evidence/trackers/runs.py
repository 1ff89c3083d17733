"""What a tracker is told, from the records: one run a training, one an evaluated checkpoint, one for the summary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from c2o_evidence.digests import check_digest, json_digest
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.model_config import flat
from c2o_evidence.records import Record, read_record
from c2o_evidence.stats import mean
from c2o_evidence.tsv import read_tsv
from c2o_evidence.yaml_file import load_yaml

PLACE = re.compile(r"(?P<kind>train|eval)/(?P<experiment>[A-Za-z0-9_-]+)/seed(?P<seed>\d+)")
SUITE = re.compile(r"[A-Za-z0-9_-]+")
TABLES = "tables"
Values = Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """One run of a tracker.

    Attributes:
        suite: whose run it is. place: `train/EXPERIMENT/seedS`, `eval/EXPERIMENT/seedS` or `tables`.
        key: digest over all that it tells: the same results have the same key, others another one.
        params: the resolved configuration, by dotted keys; empty for `tables`.
        tags: digests and names.
        points: (step, numbers): a training's rows by iteration, an evaluation's `ROW/METRIC` by eval seed. What is
            undefined is not there.
        final: numbers of the whole run: of an evaluation `ROW/mean_AP` over its eval seeds, of `tables` the summary.
        files: what it made, by its path in the results; paths, not copies.
        started, ended: seconds since 1970.
    """

    suite: str
    place: str
    key: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    points: tuple[tuple[int, Values], ...]
    final: Values
    files: Mapping[str, str]
    started: float
    ended: float

    @property
    def name(self) -> str:
        """How a tracker lists it."""
        return f"{self.suite}/{self.place}"


@dataclass
class _Told:
    """What a run's files say beside the record."""

    params: dict[str, Any] = field(default_factory=dict)
    points: list[tuple[int, Values]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)


def places_of(base: Path) -> list[str]:
    """The places below `results/SUITE`, or a bundle, that have a record: trainings, evaluations, `tables`."""
    found = (path.parent.relative_to(base).as_posix() for path in base.glob("*/*/seed*/record.json"))
    places = sorted((place for place in found if PLACE.fullmatch(place)), key=_train_first)
    return [*places, *([TABLES] if (base / TABLES / "record.json").is_file() else [])]


def read_runs(base: Path, suite: str) -> Iterator[TrackedRun]:
    """The runs of `base`. Raises as `read_run`, and EvidenceError where there is none."""
    if not SUITE.fullmatch(suite):
        raise EvidenceError(f"{base}: {suite!r} is no name of a suite; give a directory that is called like one")
    places = places_of(base)
    if not places:
        raise EvidenceError(f"{base}: has no record of a training or an evaluation; build it first: c2o run {suite}")
    for place in places:
        yield read_run(base, suite, place)


def read_run(base: Path, suite: str, place: str) -> TrackedRun:
    """One run, from its record and the files that the record names; these are hashed.

    Raises:
        EvidenceError: a file is missing, malformed or not the one that the record names.
    """
    record = read_record(base / place / "record.json")
    files: tuple[str, ...]
    if place == TABLES:
        told, files = _tables(base, record), ("tables/summary.tsv", "tables/runs.tsv")
    elif place.startswith("train/"):
        told, files = _training(base, place, record), ("model.safetensors", "config.yaml", "curve.tsv")
    else:
        told, files = _evaluation(base, place, record), ("results.tsv", "detections.safetensors")
    tags = _tags(suite, place, record)
    return TrackedRun(
        suite=suite,
        place=place,
        key=json_digest({"tags": tags, "products": {p.name: p.sha256 for p in record.products}}),
        params=told.params,
        tags=tags,
        points=tuple(told.points),
        final=told.final,
        files={p.path: str(base / p.path) for p in record.products if p.base == "suite" and p.path.endswith(files)},
        started=_seconds(record.started),
        ended=_seconds(record.ended),
    )


def _training(base: Path, place: str, record: Record) -> _Told:
    config, curve = (_made(base, f"{place}/{name}", record) for name in ("config.yaml", "curve.tsv"))
    rows = read_tsv(curve, "curve")
    points = [(row["iteration"], _defined({k: v for k, v in row.items() if k != "iteration"})) for row in rows]
    return _Told(flat(load_yaml(config, str(config))), points)


def _evaluation(base: Path, place: str, record: Record) -> _Told:
    results = _made(base, f"{place}/results.tsv", record)
    told, by_seed, by_row = _Told(), dict[int, dict[str, float]](), dict[str, list[float]]()
    for row in read_tsv(results, "results"):
        values = {k: v for k, v in row.items() if isinstance(v, float)}
        by_row.setdefault(row["exp_name"], []).append(values["AP"])
        numbers = by_seed.setdefault(row["eval_seed"], {})
        numbers.update({f"{row['exp_name']}/{name}": value for name, value in values.items()})
        told.params[f"{row['exp_name']}.sample_step"] = row["sample_step"]
    told.points = [(seed, _defined(values)) for seed, values in sorted(by_seed.items())]
    told.final = dict(_defined({f"{name}/mean_AP": mean(values) for name, values in by_row.items()}))
    config = base / place.replace("eval/", "train/", 1) / "config.yaml"
    if config.is_file():  # the parameters of the checkpoint, for comparing runs by them
        told.params |= flat(load_yaml(config, str(config)))
    return told


def _tables(base: Path, record: Record) -> _Told:
    rows = read_tsv(_made(base, f"{TABLES}/summary.tsv", record), "summary")
    numbers = {
        f"{row['exp_id']}/{name}": float(value)
        for row in rows
        for name, value in row.items()
        if isinstance(value, (int, float))
    }
    return _Told(final=dict(_defined(numbers)))


def _tags(suite: str, place: str, record: Record) -> dict[str, str]:
    known = PLACE.fullmatch(place)
    tags = {"c2o.suite": suite, "c2o.kind": known["kind"] if known else TABLES, "c2o.place": place}
    if known:
        tags |= {"c2o.experiment": known["experiment"], "c2o.train_seed": known["seed"]}
    for key in ("recipe", "digest"):
        value = record.parameters.get(key)
        tags |= {f"c2o.{key}": value} if isinstance(value, str) else {}
    used = {file.name: file.sha256 for file in record.materials}
    tags |= {f"c2o.{name}_sha256": used[name] for name in ("data", "init", "teacher") if name in used}
    made = {file.path: file.sha256 for file in record.products}
    if checkpoint := made.get(f"{place}/model.safetensors") or (known and used.get("model")):
        tags["c2o.checkpoint_sha256"] = checkpoint
    tags |= {"c2o.code_sha256": record.code_sha256, "c2o.lock_sha256": record.lock_sha256}
    hardware = record.host.get("hardware_id")
    return tags | ({"c2o.hardware_id": hardware} if isinstance(hardware, str) else {})


def _made(base: Path, path: str, record: Record) -> Path:
    """A file that the record names, with the digest that it names. Raises DigestError."""
    named = {file.path: file.sha256 for file in record.products if file.base == "suite"}
    if path not in named:
        raise DigestError(f"{base / path}: the record beside it does not name it; make it again, or c2o verify {base}")
    check_digest(base / path, named[path])
    return base / path


def _defined(values: Mapping[str, float]) -> Values:
    return {name: float(value) for name, value in values.items() if value == value}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _train_first(place: str) -> tuple[bool, str]:
    return not place.startswith("train/"), place
