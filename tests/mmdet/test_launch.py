"""Training and testing by the command line: determinism, resuming, errors in one line, and what is not unpickled."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from c2o_model.checkpoint import CheckpointError
from c2o_model.mmdet3 import launch, test, train
from c2o_model.mmdet3.test import read_weights

TOY = "configs/mmdet/toy.py"
FEW = {
    "load_from": None,
    "train_dataloader.dataset.indices": 8,
    "train_dataloader.batch_size": 2,
    "val_dataloader.dataset.indices": 3,
    "test_dataloader.dataset.indices": 3,
}
Options = Callable[..., list[str]]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_weights(path)[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_command_trains_the_same_and_a_resumed_one_too(options: Options, tmp_path: Path) -> None:
    two = {**FEW, "train_cfg.max_epochs": 2, "param_scheduler.1.T_max": 2}
    for work in ("a", "b"):
        assert train.main([TOY, *options(two, work)]) == 0
    straight = weights(tmp_path / "a/epoch_2.pth")
    assert same(straight, weights(tmp_path / "b/epoch_2.pth"))
    assert not same(straight, weights(tmp_path / "a/epoch_1.pth"))
    (tmp_path / "b/epoch_2.pth").unlink()  # as if it had been stopped in its second epoch
    (tmp_path / "b/last_checkpoint").write_text(str(tmp_path / "b/epoch_1.pth"))
    assert train.main([TOY, "--resume", *options(two, "b")]) == 0
    assert same(straight, weights(tmp_path / "b/epoch_2.pth"))
    assert train.main([TOY, "--seed", "1", *options(FEW, "other")]) == 0
    assert not same(weights(tmp_path / "a/epoch_1.pth"), weights(tmp_path / "other/epoch_1.pth"))
    assert [read_weights(tmp_path / f"{work}/epoch_1.pth")[1] for work in ("a", "other")] == [0, 1]
    about = json.loads((tmp_path / "a/c2o/val/iter_8/run.json").read_text())
    assert about["checkpoint"]["path"] == str(tmp_path / "a/epoch_2.pth") and about["train_seed"] == 0
    with np.load(tmp_path / "a/c2o/val/iter_8/runs.npz") as arrays:
        assert set(arrays["0.image_id"].tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("command", [train, test])
def test_help_teaches(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])  # type: ignore[attr-defined]
    assert "configs/mmdet/toy.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.py"], "error: none.py: no such configuration; those of C2O are in configs/mmdet\n"),
        ([TOY, "--cfg-options", "batch"], "error: --cfg-options: 'batch' is not K=V\n"),
        ([TOY, "--resume", "--work-dir", "nowhere"], "error: --resume: nowhere has no checkpoint; leave --resume away"),
        ([TOY, "--cfg-options", "load_from=no.pth"], f"error: load_from: no.pth: no such checkpoint; {TOY} says how"),
        (
            [TOY, "--cfg-options", "load_from=None", "model.c2o.MODEL.DiffusionDet.NHEADS=3"],
            "error: MODEL.DiffusionDet.NHEADS: 3 does not divide HIDDEN_DIM 64\n",
        ),
        (
            [TOY, "--cfg-options", "load_from=None", "model.typ=x"],
            f"error: {TOY}: cannot be built (TypeError: C2OGND.__init__() got an unexpected keyword argument 'typ')\n",
        ),
        (
            [TOY, "--cfg-options", "load_from=None", "model.backbone.type=Nope"],
            f"error: {TOY}: cannot be built (KeyError: Nope is not in the mmdet::model registry. ",
        ),
        ([TOY, "--cfg-options", "load_from=None", "--work-dir", f"{TOY}/x"], f"/{TOY}/x'\n"),
        (
            [TOY, "--cfg-options", "load_from=None", "train_dataloader.dataset.data_root=nowhere/"],
            "nowhere/train.json: no such file; docs/mmdetection.md says how data sets are made\n",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    work = [] if "--work-dir" in arguments else ["--work-dir", str(tmp_path)]
    assert train.main([arguments[0], *work, *arguments[1:]]) == 2
    line = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert line.startswith("error: ") and told in line


def test_a_damaged_checkpoint_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"PK\x03\x04 nothing more")
    assert train.main([TOY, "--work-dir", str(tmp_path), "--cfg-options", f"load_from={damaged}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {damaged}: ")


@pytest.mark.parametrize(("command", "before"), [(train, ["--seed"]), (test, ["some.pth", "--eval-seeds"])])
def test_a_seed_is_a_whole_number(command: object, before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("-1", "1.5"):
        with pytest.raises(SystemExit):
            command.main([TOY, *before, wrong])  # type: ignore[attr-defined]
        assert f"'{wrong}' is not a whole number from 0 on" in capsys.readouterr().err


def test_configurations_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("model = dict(\n")
    empty.write_text("work_dir = 'x'\n")
    assert train.main([str(broken)]) == train.main([str(empty)]) == 2
    said = capsys.readouterr().err
    assert f"error: {broken}: cannot be used (SyntaxError: " in said
    assert f"error: {empty}: has no model; begin with _base_ = one of configs/mmdet/_base_/models\n" in said


def test_without_mmdetection(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    assert train.main([TOY]) == 2
    assert capsys.readouterr().err == (
        "error: MMDetection: mmdet, mmengine, mmcv is not installed; `make mmdet` installs it\n"
    )


class Evil:
    def __init__(self, target: object, *arguments: object) -> None:
        self.call = (target, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("how", ["system", "getattr"])
def test_a_checkpoint_runs_no_code(how: str, tmp_path: Path) -> None:
    """Neither by name nor through what a Runner's file may name."""
    from mmengine.logging import HistoryBuffer

    mark = tmp_path / "ran"
    evil = Evil(os.system, f"touch {mark}") if how == "system" else Evil(getattr, HistoryBuffer, "__init__")
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {}, "meta": evil}, path, pickle_module=pickle)
    with pytest.raises(CheckpointError, match=r"evil\.pth: refused: it does not load with weights_only=True"):
        read_weights(path)
    assert not mark.exists()


def test_a_checkpoint_of_another_model(options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"backbone.x": torch.zeros(1)}}, tmp_path / "other.pth")
    assert test.main([TOY, str(tmp_path / "other.pth"), *options(FEW)]) == 2
    assert f"error: {tmp_path}/other.pth: is of another model than CONFIG: " in capsys.readouterr().err
