"""What `--checkpoint` names: the file, its configuration, how its row samples, and what its classes are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2o_evidence.annotations import read_annotations
from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_DATA_MANIFEST
from c2o_evidence.suite import Suite, load_resolved_suite, load_suite
from c2o_evidence.verify.runs import read_json

CHECKPOINT, CONFIG = "model.safetensors", "config.yaml"


@dataclass(frozen=True)
class DataSet:
    """The classes of a data set in label order, and its val pictures: image id by the digest of the file."""

    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    pictures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A checkpoint that can be run. steps: of its row, None for the configuration's; opts: of its row."""

    title: str
    checkpoint: Path
    config: Path
    data: DataSet
    steps: int | None = None
    opts: Mapping[str, Any] = field(default_factory=dict)


def find_model(named: str, root: Path, config: Path | None = None, data: Path | None = None) -> Model:
    """The model that `--checkpoint` names.

    Args:
        named: SUITE:EXP[:SEED] or BUNDLE:EXP[:SEED], EXP a row or an experiment; or a file; or its directory.
        config: `--config-file`, in the place of the config.yaml beside the checkpoint.
        data: `--data`, a directory with manifest.json and val.json, in the place of the one that the checkpoint is of.

    Raises:
        EvidenceError: there is no such checkpoint or configuration; what to type.
    """
    if data is not None and not (data / "val.json").is_file():
        raise EvidenceError(f"--data {data}: has no val.json, which names classes; name the directory of a data set")
    path = Path(named)
    if path.is_dir() and (path / CHECKPOINT).is_file():
        path = path / CHECKPOINT
    if path.is_file() or path.suffix in (".safetensors", ".pth"):
        return _of_file(path, root, config, data)
    if not named.partition(":")[0] or ":" not in named:
        what = "is neither a file nor SUITE:ROW (such as step1_5seed:student_1)"
        raise EvidenceError(f"--checkpoint {named}: {what}; `c2o status` lists the suites")
    return _of_suite(named, root, config, data)


def _of_file(path: Path, root: Path, config: Path | None, data: Path | None) -> Model:
    if not path.is_file():
        raise EvidenceError(f"--checkpoint {path}: does not exist; name a checkpoint, or SUITE:ROW")
    beside = config or path.parent / CONFIG
    if not beside.is_file():
        what = "does not exist" if config else f"there is no {CONFIG} beside the checkpoint"
        raise EvidenceError(f"{beside}: {what}; name its configuration with --config-file")
    return Model(path.name, path, beside, read_data_set(data or _data_beside(path, root)))


def _data_beside(path: Path, root: Path) -> Path | None:
    """The data set of a checkpoint `BASE/train/EXP/seedN/model.safetensors`: in a bundle, or of the suite BASE."""
    parts = path.resolve().parents
    if len(parts) < 4 or parts[2].name != "train":
        return None
    base = parts[3]
    if (base / "data" / "val.json").is_file():
        return base / "data"
    try:
        return root / "data" / load_suite(base.name, root).data_name
    except EvidenceError:
        return None


def _of_suite(named: str, root: Path, config: Path | None, data: Path | None) -> Model:
    name, _, rest = named.partition(":")
    what, _, seed = rest.partition(":")
    base, suite = _base(name, root)
    row = next((row for row in suite.rows if row.exp_id == what), None)
    experiment = row.experiment if row is not None else what
    if experiment not in suite.experiments:
        known = ", ".join(row.exp_id for row in suite.rows)
        raise EvidenceError(f"--checkpoint {named}: {what!r} is not a row of {name}; known: {known}")
    seeds = suite.seeds_of(experiment)
    if seed and (not (seed.isascii() and seed.isdigit()) or int(seed) not in seeds):
        raise EvidenceError(f"--checkpoint {named}: {seed!r} is not a train seed; known: {', '.join(map(str, seeds))}")
    folder = base / "train" / experiment / f"seed{int(seed) if seed else seeds[0]}"
    if not (folder / CHECKPOINT).is_file():
        raise EvidenceError(f"{folder / CHECKPOINT}: is not there yet; type `c2o run {suite.name}` to train it")
    of_bundle = base / "data"
    found = data or (of_bundle if of_bundle.is_dir() else root / "data" / suite.data_name)
    title = f"{what} of {suite.name}, train {folder.name.replace('seed', 'seed ')}"
    chosen = config or folder / CONFIG
    if not chosen.is_file():
        raise EvidenceError(f"{chosen}: does not exist; name the configuration with --config-file")
    steps, opts = (row.sample_step, row.opts) if row is not None else (None, {})
    return Model(title, folder / CHECKPOINT, chosen, read_data_set(found), steps, opts)


def _base(name: str, root: Path) -> tuple[Path, Suite]:
    """Where a suite's trainings lie, and the suite: in a bundle by its directory, else a deliverable, else results."""
    for bundle in (Path(name), root / "deliverables" / name):
        if name and (bundle / "suite.yaml").is_file() and (bundle / "train").is_dir():
            return bundle, load_resolved_suite(bundle / "suite.yaml")
    return root / "results" / name, load_suite(name, root)


def read_data_set(folder: Path | None) -> DataSet:
    """Classes and val pictures of a data directory; empty where there is none.

    Raises:
        TableError: val.json is damaged.
    """
    path = None if folder is None else folder / "val.json"
    if folder is None or path is None or not path.is_file():
        return DataSet()
    document = read_annotations(path)
    files = (read_json(folder / "manifest.json", MAX_DATA_MANIFEST) or {}).get("files")
    files = files if isinstance(files, dict) else {}
    names = {item["id"]: item["name"] for item in document["categories"]}
    pictures = {}
    for image in document["images"]:
        entry = files.get(str(image.get("file_name")))
        if isinstance(entry, dict) and isinstance(entry.get("sha256"), str):
            pictures[entry["sha256"]] = image["id"]
    return DataSet(tuple(names[key] for key in sorted(names)), tuple(sorted(names)), pictures)
