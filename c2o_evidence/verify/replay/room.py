"""The room: a directory in which the project's own workflow does a bundle's work again, with nothing else in reach.

It holds a copy of the checkout's sources, a suite made of the bundle's own configurations, the data set, and for level
`eval` the frozen checkpoints where a training would have left them. An interrupted replay goes on in it; a room of
another state of the sources or of the bundle, or one whose replay came to its end, is made anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.digests import json_digest, tree_digest
from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_STATE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.verify.replay.dataset import data_config_path, place_data
from c2o_evidence.verify.replay.source import Source, config_path
from c2o_evidence.yaml_file import dump_yaml

SOURCES = ("Snakefile", "workflow", "c2o_model", "c2o_evidence", "profiles/default", "requirements", "environment.yml")
KEY = "room.json"  # what the room was made of
ENDED = "replay.ended"  # there once the replay has run to its end, whatever came out


@dataclass(frozen=True)
class Room:
    """A replay's directory. `resumed`: an earlier, interrupted replay is continued in it."""

    path: Path
    suite: Suite
    resumed: bool

    @property
    def results(self) -> Path:
        """Where the workflow puts what it makes, laid out as the bundle is."""
        return self.path / "results" / self.suite.name

    @property
    def logs(self) -> Path:
        return self.path / "logs" / self.suite.name

    def log(self, stage: str, experiment: str, seed: int) -> Path:
        """The log of one job; `stage`: train or eval."""
        rules = {"eval": ("evaluate",), "train": ("train", "distill")}[stage]
        places = [self.logs / rule / experiment / f"seed{seed}.log" for rule in rules]
        return next((place for place in places if place.is_file()), places[0])

    def end(self) -> None:
        """Note that the replay has run to its end: the next one starts afresh."""
        (self.path / ENDED).touch()

    def remove(self) -> None:
        shutil.rmtree(self.path)


def room_path(checkout: Path, source: Source, level: str) -> Path:
    """`results/.state/replay/NAME-ROOTDIGEST12-LEVEL` of a checkout."""
    return checkout / "results" / ".state" / "replay" / f"{source.suite.name}-{source.root_digest[:12]}-{level}"


def enter_room(checkout: Path, source: Source, level: str) -> Room:
    """The room of a replay: the one that an interrupted replay has left, or a new one.

    Complete under its name or not there: it is built beside it. Call it with the room's lock held and after
    `refusals` has found nothing.

    Raises:
        EvidenceError: the data set is neither in the checkout nor one that can be made; a file changed meanwhile.
    """
    path = room_path(checkout, source, level)
    key = {"level": level, "bundle": source.root_digest, "sources": _sources_digest(checkout)}
    text = json.dumps(key | {"key": json_digest(key)}, indent=2) + "\n"
    if resumed := _is_of(path, text):
        return Room(path, load_suite(source.suite.name, path), resumed)
    shutil.rmtree(path, ignore_errors=True)
    building = path.with_name(f".{path.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    _build(building, checkout, source, level)
    if tree_digest(building, _source_files(building)) != key["sources"]:
        raise EvidenceError(f"{checkout}: a source file was edited while it was copied; type the command again")
    atomic_write(building / KEY, text)
    building.rename(path)
    return Room(path, load_suite(source.suite.name, path), resumed)


def _is_of(path: Path, key: str) -> bool:
    try:
        return read_plain(path / KEY, MAX_STATE) == key.encode("utf-8") and not (path / ENDED).exists()
    except OSError:
        return False


def _source_files(checkout: Path) -> Iterator[str]:
    for name in SOURCES:
        place = checkout / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(checkout).as_posix()


def _sources_digest(checkout: Path) -> str:
    return tree_digest(checkout, _source_files(checkout))


def _build(room: Path, checkout: Path, source: Source, level: str) -> None:
    for name in _source_files(checkout):
        target = room / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, target)
    suite = source.suite
    atomic_write(room / "configs" / "suites" / f"{suite.name}.yaml", suite_text(suite))
    atomic_write(room / data_config_path(suite), dump_yaml(dict(suite.data_config)))
    for experiment in suite.needed:
        # The very bytes: the merged configuration, hence its digest, is the bundle's.
        source.copy(config_path(experiment, suite.seeds_of(experiment)[0]), room / _model_path(experiment))
    if level == "eval":
        for path in source.train_files():
            source.copy(path, room / "results" / suite.name / path)
    place_data(room, checkout, source)


def _model_path(experiment: str) -> str:
    return f"configs/models/replay/{experiment}.yaml"


def suite_text(suite: Suite) -> str:
    """The suite of the room: the bundle's, with its own model files and without what is not replayed."""
    experiments = {}
    for name in suite.needed:
        spec = suite.experiment(name)
        parents = {"init": spec.init, "teacher": spec.teacher}
        experiments[name] = {
            "model": _model_path(name),
            **{role: parent for role, parent in parents.items() if parent is not None},
            "shared": spec.shared,
        }
    document = {
        "name": suite.name,
        "title": f"Replay of {suite.name}",
        "dataset": data_config_path(suite),
        "train_seeds": list(suite.train_seeds),
        "eval_seeds": list(suite.eval_seeds),
        "experiments": experiments,
        "rows": [
            {
                "exp_id": row.exp_id,
                "experiment": row.experiment,
                "sample_step": row.sample_step,
                "opts": dict(row.opts),
                "label": row.label,
                "stack": row.stack,
            }
            for row in suite.rows
        ],
    }
    return dump_yaml(document)
