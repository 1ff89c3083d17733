"""A training that a job asks for: who works on its parts, that it can be stopped, and what it says went wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from c2o_model.config import ConfigError
from c2o_model.data import manifest
from c2o_model.evaluation.run import EvalRow, RunDetections
from c2o_model.evaluation.shared import Evaluation, load_runs, save_runs
from c2o_model.group import GroupError
from c2o_model.training.run import TrainingStopped
from c2o_model.training.shared import HISTORY, Training, train_shared
from tests.c2o_model.conftest import TINY, _write_split

PARTS = {**TINY, "SOLVER.MAX_ITER": 40, "SOLVER.CHECKPOINT_PERIOD": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with its manifest."""
    root = tmp_path_factory.mktemp("data")
    split = _write_split(root, 12, 5)
    for name in ("train", "val"):
        (root / f"{name}.json").write_bytes(split.annotation.read_bytes())
    split.annotation.unlink()
    manifest.write(manifest.build(root, "tiny", {}, ("train", "val")))
    return root


@pytest.fixture
def training(data: Path, tmp_path: Path) -> Any:
    """Makes a training below a directory of the test."""

    def make(name: str, **config: Any) -> Training:
        place = tmp_path / name
        return Training(
            config={**PARTS, **config},
            seed=3,
            data=data,
            output=place / "m.safetensors",
            state_dir=place / "state",
            feature_dir=tmp_path / "features",
            recipe="r",
            metadata={"x": "y"},
        )

    return make


def quiet(now: Any) -> None:
    pass


def test_stopped_in_two_processes_it_goes_on_in_one(training: Any, tmp_path: Path) -> None:
    measured = {"TEST.EVAL_PERIOD": 20}
    whole, cut = training("whole", **measured), training("cut", **measured)
    uncut = train_shared(whole, 2, 1, progress=quiet)
    assert uncut.ran == ("1 x 2",) and all(0 <= row["AP"] <= 100 for row in uncut.curve)
    seen = cut.state_dir / "state-00000020.safetensors.sha256"
    told: list[int] = []
    with pytest.raises(TrainingStopped, match="stopped as asked after iteration .* of 40, the state is saved"):
        train_shared(cut, 2, 2, progress=lambda now: told.append(now["iteration"]), stop=seen.exists)
    assert told == sorted(set(told)) and told and told[0] < 40
    assert not cut.output.exists() and list(cut.state_dir.glob("state-*.safetensors"))
    assert not list(cut.state_dir.glob("group.*"))
    outcome = train_shared(cut, 2, 1, progress=quiet)
    assert outcome.ran == ("2 x 1", "1 x 2") and outcome.curve == uncut.curve
    assert cut.output.read_bytes() == whole.output.read_bytes()


def test_another_validation_split_gives_another_curve_and_the_same_checkpoint(
    training: Any, data: Path, tmp_path: Path
) -> None:
    values = {"TEST.EVAL_PERIOD": 20, "SOLVER.MAX_ITER": 20}
    one, root = training("one", **values), shutil.copytree(data, tmp_path / "set")
    document = json.loads((root / "val.json").read_text())
    document["annotations"] = []
    (root / "val.json").write_text(json.dumps(document))
    manifest.write(manifest.build(root, "tiny", {}, ("train", "val")))
    other = replace(training("other", **values), data=root)
    (first,), (second,) = (train_shared(t, 1, 1, progress=quiet).curve for t in (one, other))
    assert first["AP"] >= 0 and math.isnan(second["AP"])
    assert {k: v for k, v in first.items() if k != "AP"} == {k: v for k, v in second.items() if k != "AP"}
    assert one.output.read_bytes() == other.output.read_bytes()


def test_several_processes_are_asked_to_stop_only_while_they_train(
    training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is: before the first iteration there is nothing to save, after the last one outputs are being written."""
    from c2o_model.training import shared

    one = training("asked")
    progress = one.state_dir / "progress.json"
    one.state_dir.mkdir(parents=True)
    progress.write_text('{"iteration": 7, "total": 40}')  # of an earlier launch
    now, asked, told = 0, [], []

    def stop() -> bool:
        asked.append(now)
        return False

    @contextmanager
    def group(*_: Any, stop: Any, look: Any, **more: Any) -> Iterator[Any]:
        nonlocal now
        for now in (0, 0, 1, 39, 40, 40):
            if now:
                progress.write_text(json.dumps({"iteration": now, "total": 40}))
                os.utime(progress, ns=(now, now))
            stop()
            look()
            stop()
        progress.write_text("")  # as a file server that is away
        look()
        yield None, {"curve": [], "attention": []}

    monkeypatch.setattr(shared, "run_group", group)
    train_shared(one, 2, 2, progress=lambda now: told.append(now["iteration"]), stop=stop)
    assert asked == [1, 39, 39, 40] and told == [1, 39, 40]


def test_what_a_process_finds_wrong_is_the_message(training: Any) -> None:
    wrong = training("wrong", **{"MODEL.DiffusionDet.NUM_CLASSES": 5})
    with pytest.raises(GroupError, match="^MODEL.DiffusionDet.NUM_CLASSES: 5, but .* has 3 classes; set it to that$"):
        train_shared(wrong, 2, 2, progress=quiet)


def test_parts_that_cannot_be_shared_are_refused_before_anything_starts(training: Any) -> None:
    with pytest.raises(ConfigError, match="^processes: 4 parts of a batch cannot be shared evenly by the 3 processes"):
        train_shared(training("never"), 4, 3, progress=quiet)


def test_micro_batches_of_the_recipe_come_on_top(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches in each of four processes are eight parts, whoever works on them."""
    from c2o_model.training import shared

    asked: list[int] = []

    def stand_in(self: Training, *_: Any) -> Any:
        asked.append(self.steps)
        return shared.Outcome([], ())

    monkeypatch.setattr(Training, "run", stand_in)
    micro = training("micro", **{"SOLVER.ACCUMULATE_STEPS": 2, "SOLVER.IMS_PER_BATCH": 8})
    train_shared(micro, 4, 1, progress=quiet)
    assert asked == [8]
    train_shared(micro, 1, 9, progress=quiet)
    assert asked == [8, None]  # one part: nothing is changed, and nothing noted
    assert json.loads((micro.state_dir / HISTORY).read_text()) == {"recipe": "r", "ran": ["1 x 8"]}


def test_launches_of_a_training_that_begins_anew_are_forgotten(training: Any) -> None:
    from c2o_model.group import Given
    from c2o_model.training.shared import _note_launch

    place = training("again").state_dir
    assert _note_launch(place, "r", Given(4), 1) == ("4 x 1",)
    assert _note_launch(place, "r", Given(2), 2) == ("2 x 2",)  # no state to go on from
    (place / "state-00000020.safetensors").touch()
    assert _note_launch(place, "r", Given(2), 2) == ("2 x 2",)
    assert _note_launch(place, "r", Given(1, 2), 2) == ("2 x 2",)
    assert _note_launch(place, "r", Given(1), 4) == ("2 x 2", "1 x 4")
    assert _note_launch(place, "of another", Given(1), 4) == ("1 x 4",)  # whose state is not resumed
    for damaged in ("", "[]", "3", '{"ran": []}', "\udcff"):
        (place / HISTORY).write_text(damaged, errors="surrogateescape")
        assert _note_launch(place, "r", Given(1), 4) == ("1 x 4",)


def test_values_survive_being_written_down(training: Any, tmp_path: Path) -> None:
    import numpy as np

    one = training("one")
    assert Training.of(json.loads(json.dumps(one.values()))) == one
    rows = (EvalRow("a", 1, (("MODEL.DiffusionDet.SAMPLE_RESTARTS", 2),)), EvalRow("b", 4))
    evaluation = Evaluation({"A": {"B": [1.5, None]}}, tmp_path / "m", tmp_path, rows, (0, 7))
    assert Evaluation.of(json.loads(json.dumps(evaluation.values()))) == evaluation
    runs = [
        RunDetections(name, seed, np.arange(n), np.ones((n, 4), np.float32), np.ones(n, np.float32), np.arange(n) % 3)
        for name, seed, n in (("a", 0, 3), ("a", 7, 0), ("b", 0, 1))
    ]
    names = json.loads(json.dumps(save_runs(tmp_path, runs)))
    for run, back in zip(runs, load_runs(tmp_path, names), strict=True):
        assert (run.exp_id, run.eval_seed) == (back.exp_id, back.eval_seed)
        for name in ("image_id", "box", "score", "label"):
            left, right = getattr(run, name), getattr(back, name)
            assert left.dtype == right.dtype and np.array_equal(left, right), name
