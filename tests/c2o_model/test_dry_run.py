"""``train_net --dry-run``: the first step of the training itself, told in numbers, and nothing written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from c2o_model import train_net

ROOT = Path(__file__).parents[2]
D = "MODEL.DiffusionDet."


@pytest.fixture
def setup(tiny_arguments: Callable[..., list[str]]) -> list[str]:
    """Arguments that train the tiny model one iteration on a registered set."""
    return tiny_arguments(1, {"MODEL_EMA.ENABLED": True})


def dry(setup: list[str], *more: str, flags: tuple[str, ...] = ()) -> int:
    return train_net.main([*setup[:2], "--dry-run", *flags, *setup[2:], *more])


def size(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_it_is_the_first_step_of_the_training(
    setup: list[str], tiny_split: Any, make_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert dry(setup) == 0
    said = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert train_net.main(setup) == 0
    row = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f" s; loss {row['loss']:.3f}\n" in said
    assert f"of the last stage: loss_ce {row['loss_ce']:.3f}, loss_bbox {row['loss_bbox']:.3f}, " in said

    boxes = sum(len(b) for b in tiny_split.boxes)
    images = sum(len(b) > 0 for b in tiny_split.boxes)
    assert f"data      tiny_set: {images} images with boxes, {len(tiny_split) - images} without left out\n" in said
    assert f"          {boxes} boxes of 3 of 3 classes, " in said
    assert f"test      tiny_set: {len(tiny_split)} images, {boxes} boxes, the same classes\n" in said
    parameters = sum(p.numel() for p in build_model(make_config()).parameters())
    assert f"{parameters:,} parameters, {parameters:,} trained\n" in said
    assert "starts from random weights (MODEL.WEIGHTS is empty)" in said and "float32; average 0.999\n" in said
    assert "shapes    pyramid p2 4x16x16x16, p3 4x16x8x8, p4 4x16x4x4\n" in said  # 64 px by strides 4, 8, 16
    assert "head 2 stages x 4 images x 8 boxes x 3 classes\n" in said
    assert f"full run  1 steps of 4 images = {4 / images:.1f} epochs\n" in said
    assert "the batch can be shared by 1, 2, 4 processes (GPUs)\n" in said
    checkpoint = (tmp_path / "out" / "model_final.safetensors").stat().st_size
    found = re.search(r"^disk      (.*) a checkpoint, (.*) the resumable state", said, re.M)
    assert found and size(found[1]) == pytest.approx(checkpoint, rel=0.2)  # the header is large beside a tiny model
    assert size(found[2]) == pytest.approx(4 * size(found[1]), rel=0.01)  # weights, average, two moments


def test_several_steps(setup: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(setup, "SOLVER.MAX_ITER", "7200", "SOLVER.AMP.ENABLED", "True", flags=("--steps", "3")) == 0
    said = capsys.readouterr().out
    times = re.search(r"^step      (\d+\.\d\d) s, (\d+\.\d\d) s, (\d+\.\d\d) s; loss ", said, re.M)
    pace = re.search(r"at (\d+\.\d\d) s a step \(mean of 2\)$", said, re.M)
    assert times and pace and "bfloat16; average" in said
    assert float(pace[1]) == pytest.approx((float(times[2]) + float(times[3])) / 2, abs=0.011)


def test_processes_and_micro_batches(setup: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The loss of 2 x 2 parts is that of one, told once."""
    assert dry(setup) == 0
    alone = re.search(r"; loss (\d+\.\d)", capsys.readouterr().out)
    two = [*setup[:2], "--dry-run", "--num-gpus", "2", *setup[2:], "SOLVER.ACCUMULATE_STEPS", "2"]
    run = [sys.executable, "-m", "c2o_model.train_net", *two]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("data      tiny_set: ") == 1
    assert "batch     4 images = 2 process(es) x 2 micro-batch(es) x 1\n" in done.stdout
    assert "the batch can be shared by 1, 2 processes (GPUs)\n" in done.stdout
    assert "for the 2 images of one process" in done.stdout and " in 2 process(es) as here, at " in done.stdout
    assert alone and f"; loss {alone[1]}" in done.stdout


def test_a_student_with_its_teacher(setup: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_net.main(setup) == 0
    teacher = str(tmp_path / "out" / "model_final.safetensors")
    on = [D + "SAMPLER_DISTILL", "True", D + "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP", "2"]
    assert dry(setup, *on, D + "SAMPLER_DISTILL_TEACHER_WEIGHTS", teacher, "MODEL.WEIGHTS", teacher) == 0
    said = capsys.readouterr().out
    assert "loss_distill_bbox " in said and f"starts from {teacher}\n" in said
    assert dry(setup, *on) == 2
    assert "SAMPLER_DISTILL: needs a teacher checkpoint" in capsys.readouterr().err


def test_what_cannot_be_trained(
    setup: list[str], tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    document = json.loads(tiny_split.annotation.read_text())
    document["categories"][0]["name"] = "other"
    (tmp_path / "other.json").write_text(json.dumps(document))
    sets = (
        f"tiny_set:{tiny_split.annotation}:{tiny_split.image_root};other:{tmp_path}/other.json:{tiny_split.image_root}"
    )
    monkeypatch.setenv("EXTRA_COCO_DATASETS", sets)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for opts, message in (
        (["DATASETS.TEST", "('other',)"], "DATASETS.TEST: other has other classes than DATASETS.TRAIN"),
        (["MODEL.DEVICE", "cuda"], "MODEL.DEVICE: 'cuda', but torch sees no GPU here; run where there is one"),
        ([D + "NUM_CLASSES", "4"], "MODEL.DiffusionDet.NUM_CLASSES: 4, but "),
        (["MODEL.WEIGHTS", "/nowhere/m.safetensors"], "/nowhere/m.safetensors: no such file"),
        (["SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_ITERS", "0"], "step 1: loss is not finite ("),
    ):
        assert dry(setup, *opts, flags=("--steps", "2")) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
    for flags, message in (
        (("--steps", "0"), "'0' is not a whole number from 1 on"),
        (("--eval-only",), "not allowed"),
    ):
        with pytest.raises(SystemExit) as caught:
            dry(setup, flags=flags)
        assert caught.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
