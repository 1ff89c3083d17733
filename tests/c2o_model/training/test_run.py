"""The training loop: the same bits however often it is stopped, and messages for what cannot work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from c2o_model.checkpoint import CheckpointError, load_weights, read_checkpoint, verify_digest
from c2o_model.config import ConfigError, dump_resolved
from c2o_model.data.loader import image_batches
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training import run as module
from c2o_model.training.draws import draw
from c2o_model.training.run import TrainingDiverged, TrainingStopped, train

EMA = {"MODEL_EMA.ENABLED": True, "MODEL_EMA.DECAY": 0.9, "MODEL_EMA.RAMP": 10}
FROZEN = {"SOLVER.BACKBONE_MULTIPLIER": 0.0}
HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "GEO_FEAT": True}


class Stopped(Exception):
    """What a crash looks like to the loop."""


def stop_after(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    real = module.save_state

    def save(*args: Any, **keys: Any) -> None:
        real(*args, **keys)
        if keys["iteration"] == iteration:
            raise Stopped

    monkeypatch.setattr(module, "save_state", save)


def content(directory: Path) -> tuple[bytes, bytes]:
    path = directory / "m.safetensors"
    return path.read_bytes(), path.with_name("m.safetensors.sha256").read_bytes()


GRAPH = {"GEO_BIAS_TYPE": "mlp", "GEO_BIAS_TOPK": 3, "GRAPH_TOPO_LOSS": True, "GEO_FEAT": True, "GEO_FEAT_REL": True}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "ema, hybrid, dropout": (EMA, {**HYBRID, "DROPOUT": 0.1}),
    "batch norm, augmented": ({"MODEL.RESNETS.NORM": "BN", "INPUT.BRIGHTNESS": 20, "INPUT.SHIFT": 3}, {}),
    "graph": ({}, GRAPH),
    "distillation": ({**EMA, **FROZEN}, {"SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 2,
                                         "SAMPLER_DISTILL_TEACHER_ETA": 1.0}),
    "distillation, two student steps": (FROZEN, {"SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 3,
                                                 "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP": 2}),
    "distillation, consistency": (EMA, {"CONSISTENCY_DISTILL": True}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(
    run_training: Any, make_config: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    values, keys = CASES[case]
    more = {"teacher": trained, "teacher_cfg": make_config(), "init": trained} if "distillation" in case else {}
    whole = run_training(tmp_path / "whole", values, more, **keys)
    for iteration in (20, 40):
        with monkeypatch.context() as patch:
            stop_after(patch, iteration)
            with pytest.raises(Stopped):
                run_training(tmp_path / "cut", values, more, **keys)
        assert not (tmp_path / "cut" / "m.safetensors").exists()
        states = sorted(p.name for p in (tmp_path / "cut" / "state").glob("*state-*"))
        assert states == [f"state-{iteration:08d}.safetensors", f"state-{iteration:08d}.safetensors.sha256"]
        torch.rand(5)
    resumed = run_training(tmp_path / "cut", values, more, **keys)
    assert resumed == whole and [row["iteration"] for row in whole] == [20, 40, 60]
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    again = run_training(tmp_path / "cut", values, more, **keys)  # a finished run that is asked for again
    assert again == whole and content(tmp_path / "cut") == content(tmp_path / "whole")


CHILD = """
import sys, yaml
from pathlib import Path
from c2o_model.determinism import pin_environment
pin_environment()
import torch
torch.set_num_threads(1)
from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_split
from c2o_model.training.run import train
where = Path(sys.argv[1])
split = load_split(sys.argv[2], Path(sys.argv[2]).parent)
train(config_from_dict(yaml.safe_load((where / "config.yaml").read_text())), seed=3, split=split, recipe="r",
      metadata={"x": "y"}, output=where / "m.safetensors", state_dir=where / "state")
"""


def test_a_run_killed_in_another_process_ends_with_the_same_bits(
    run_training: Any, make_config: Any, tiny_split: Any, tmp_path: Path
) -> None:
    values = {**EMA, "SOLVER.MAX_ITER": 200}
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "config.yaml").write_text(dump_resolved(make_config(values)))
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(killed), str(tiny_split.annotation)])
    deadline = time.monotonic() + 120
    while not list((killed / "state").glob("state-*.sha256")) and time.monotonic() < deadline:
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    time.sleep(0.13)  # somewhere inside an iteration, or a write
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (killed / "m.safetensors").exists()
    run_training(killed, values)
    run_training(tmp_path / "whole", values)
    assert content(killed) == content(tmp_path / "whole")
    assert not [p for p in (killed / "state").iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize("case", ["plain", "ema, hybrid, dropout", "distillation"])
def test_a_run_that_is_asked_to_stop_between_any_two_iterations_ends_with_the_same_bits(
    run_training: Any, tmp_path: Path, trained: Path, make_config: Any, case: str
) -> None:
    """Also within a row of the curve, whose sums so far are in the state."""
    values, keys = CASES[case]
    teacher = {"teacher": trained, "teacher_cfg": make_config()} if "distillation" in case else {}
    whole = run_training(tmp_path / "whole", values, more=teacher, **keys)
    done = 0
    for after in (1, 7, 19, 20, 12):  # 1, 8, 27, 47, 59 of 60
        answers = [False] * (after - 1) + [True]
        with pytest.raises(TrainingStopped) as stopped:
            run_training(tmp_path, values, more={**teacher, "stop": iter(answers).__next__}, **keys)
        done += after
        assert str(stopped.value) == (
            f"{tmp_path / 'state'}: stopped as asked after iteration {done} of 60, the state is saved; "
            "the same command goes on from there"
        )
        states = sorted(path.name for path in (tmp_path / "state").glob("state-*"))
        assert states == [f"state-{done:08d}.safetensors", f"state-{done:08d}.safetensors.sha256"]
        assert not (tmp_path / "m.safetensors").exists()
    # Asked after the last iteration it has nothing left to stop.
    assert run_training(tmp_path, values, more={**teacher, "stop": lambda: done == 60}, **keys) == whole
    assert content(tmp_path) == content(tmp_path / "whole")


def test_a_state_of_another_recipe_is_not_resumed(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 20)
        with pytest.raises(Stopped):
            run_training(tmp_path, more={"recipe": "other"})
    run_training(tmp_path)
    said = capsys.readouterr().err
    state = tmp_path / "state" / "state-00000020.safetensors"
    assert f"resume: {state} belongs to another recipe; starting from iteration 0" in said
    run_training(tmp_path / "fresh")
    assert content(tmp_path) == content(tmp_path / "fresh")


def test_a_damaged_state_is_not_resumed_and_the_one_before_it_is(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a kill between a state and its digest: the old state is still there."""
    kept: dict[str, bytes] = {}
    for iteration in (20, 40):
        with monkeypatch.context() as patch:
            stop_after(patch, iteration)
            with pytest.raises(Stopped):
                run_training(tmp_path)
        if iteration == 20:
            kept = {p.name: p.read_bytes() for p in (tmp_path / "state").glob("state-*")}
    newest = tmp_path / "state" / "state-00000040.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    for name, data in kept.items():
        (tmp_path / "state" / name).write_bytes(data)
    starts: list[int] = []
    real = module.load_state

    def load(*args: Any, **keys: Any) -> Any:
        found = real(*args, **keys)
        starts.append(found[0])
        return found

    monkeypatch.setattr(module, "load_state", load)
    run_training(tmp_path)
    said = capsys.readouterr().err
    assert starts == [20] and f"resume: not from here: {newest}: sha256 is " in said and "it is not loaded" in said
    run_training(tmp_path / "fresh")
    assert content(tmp_path) == content(tmp_path / "fresh")


@pytest.mark.stack_feature("training", stack="detectron2")
def test_the_loss_falls_and_the_curve_says_so(run_training: Any, tmp_path: Path) -> None:
    curve = run_training(tmp_path, {"SOLVER.MAX_ITER": 60, "SOLVER.BASE_LR": 0.004})
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    for row in curve:
        parts = {k: v for k, v in row.items() if k.startswith("loss_")}
        assert row["loss"] == pytest.approx(sum(parts.values()), rel=1e-4) and len(parts) == 6
        assert 0 < row["lr"] <= 0.004 and row["grad_norm"] > 0
    _, metadata = read_checkpoint(tmp_path / "m.safetensors")
    assert metadata == {"x": "y", "iterations": "60"}


def test_pretraining_falls_and_starts_a_detector(run_training: Any, backbone: Path, tmp_path: Path) -> None:
    state, _ = read_checkpoint(backbone)
    assert {k.split(".")[0] for k in state} == {"backbone", "predictor"}
    run_training(tmp_path, {**FROZEN, "SOLVER.MAX_ITER": 20}, {"init": backbone})
    made, _ = read_checkpoint(tmp_path / "m.safetensors")
    assert all(torch.equal(v, state[k]) for k, v in made.items() if k.startswith("backbone."))
    assert any(k.startswith("head.") for k in made)
    with pytest.raises(CheckpointError, match="lacks backbone"):
        load_weights(torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 1)}), backbone)


def test_a_detector_starts_from_one_without_the_new_modules(run_training: Any, trained: Path, tmp_path: Path) -> None:
    run_training(tmp_path, {**FROZEN, "SOLVER.MAX_ITER": 20, "SOLVER.BASE_LR": 1e-12}, {"init": trained}, **HYBRID)
    before, after = read_checkpoint(trained)[0], read_checkpoint(tmp_path / "m.safetensors")[0]
    assert all(torch.allclose(after[k], v, atol=1e-6) for k, v in before.items())
    assert {k.split(".")[1] for k in after.keys() - before.keys()} == {"label_embedding", "quality_head", "geo_feat"}
    with pytest.raises(CheckpointError, match=r"has unexpected head.geo_feat.*another model configuration"):
        run_training(tmp_path / "back", None, {"init": tmp_path / "m.safetensors"})


def test_a_plain_detector_is_fine_tuned_with_the_graph(run_training: Any, trained: Path, tmp_path: Path) -> None:
    curve = run_training(tmp_path, {**FROZEN, "SOLVER.MAX_ITER": 20}, {"init": trained}, **GRAPH)
    assert curve[-1]["loss_topo"] > 0
    before, after = read_checkpoint(trained)[0], read_checkpoint(tmp_path / "m.safetensors")[0]
    new = {k.removeprefix("head.") for k in after.keys() - before.keys()}
    assert {k.split(".")[0] for k in new} == {"geo_bias", "geo_feat"}
    for name in ("geo_bias.net.out.weight", "geo_feat.rel_mlp.2.weight"):  # began at zero
        assert name in new and after[f"head.{name}"].abs().max() > 0


def test_the_average_is_what_is_published(run_training: Any, tmp_path: Path) -> None:
    run_training(tmp_path / "plain", {"SOLVER.MAX_ITER": 20})
    run_training(tmp_path / "now", {**EMA, "MODEL_EMA.DECAY": 0.0, "MODEL_EMA.RAMP": 0, "SOLVER.MAX_ITER": 20})
    run_training(tmp_path / "ema", {**EMA, "SOLVER.MAX_ITER": 20})
    plain, now, ema = (read_checkpoint(tmp_path / d / "m.safetensors")[0] for d in ("plain", "now", "ema"))
    assert all(torch.allclose(now[k], v, atol=1e-7) for k, v in plain.items())
    assert any(not torch.allclose(ema[k], v) for k, v in plain.items())


def test_a_run_with_an_average_trains_twenty_iterations_to_a_falling_loss(
    run_training: Any, make_config: Any, tiny_split: Any, tmp_path: Path
) -> None:
    """The loss of the averaged weights themselves, on the same noisy nodes after one iteration and after twenty."""
    batch = next(image_batches(tiny_split, 12))
    whwh = batch.sizes.flip(1).float().repeat(1, 2)
    known = TrainingBatch(batch.images, batch.boxes, batch.labels, batch.mask, whwh)

    def loss_after(iterations: int) -> float:
        values = {**EMA, "SOLVER.MAX_ITER": iterations, "SOLVER.BASE_LR": 0.004}
        where = tmp_path / str(iterations)
        run_training(where, values)
        model = build_model(make_config(values)).eval()
        load_weights(model, where / "m.safetensors")
        with torch.no_grad():
            losses = model.losses(known, draw(9, 0, 12, 8, batch.mask.shape[1], 1000))
        return float(sum(losses.values()))

    assert loss_after(20) < 0.9 * loss_after(1)


def test_seeds_differ_and_repeat(run_training: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_training(tmp_path / name, {"SOLVER.MAX_ITER": 20}, {"seed": seed})
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")


@pytest.mark.parametrize("impl", ["separable", "torchvision"])
def test_a_run_that_diverges_says_where_and_leaves_no_checkpoint(run_training: Any, tmp_path: Path, impl: str) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        run_training(tmp_path, {"SOLVER.BASE_LR": 1e30, "SOLVER.WARMUP_ITERS": 0}, ROI_ALIGN_IMPL=impl)
    assert re.match(r"iteration \d+: loss is not finite \(loss_\w+ .*\); lower SOLVER.BASE_LR$", str(caught.value))
    assert not (tmp_path / "m.safetensors").exists()


def test_progress_is_reported(run_training: Any, tmp_path: Path) -> None:
    seen: list[Any] = []
    run_training(tmp_path, {"SOLVER.MAX_ITER": 20}, {"progress": seen.append})
    last = json.loads((tmp_path / "state" / "progress.json").read_text())
    assert seen[-1] == last and last["iteration"] == last["total"] == 20 and last["eta_s"] == 0
    assert last["attention"] == ["torch", "torch"]  # what each stage ran
    assert last["pid"] == os.getpid() and last["loss"] > 0 and last["seconds_per_iteration"] > 0


def test_what_does_not_fit_is_said_before_training(
    run_training: Any, make_config: Any, tiny_split: Any, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="SOLVER.CHECKPOINT_PERIOD: 30 is no multiple of 20, the rows of the loss curve"
    ):
        run_training(tmp_path, {"SOLVER.CHECKPOINT_PERIOD": 30})
    with pytest.raises(ConfigError, match=r"NUM_CLASSES: 5, but .*set.json has 3 classes; set it to that"):
        run_training(tmp_path, NUM_CLASSES=5)
    with pytest.raises(ConfigError, match="SELF_ATTN_IMPL: 'flex' has no backward on a CPU; use 'torch' or 'sdpa'"):
        run_training(tmp_path, SELF_ATTN_IMPL="flex")
    key = "MODEL.DiffusionDet.SAMPLER_DISTILL"
    with pytest.raises(ConfigError, match=f"{key}: needs a teacher checkpoint"):
        run_training(tmp_path, SAMPLER_DISTILL=True)
    with pytest.raises(CheckpointError, match=f"{trained}: a teacher is given, but {key} is off"):
        run_training(tmp_path, None, {"teacher": trained, "teacher_cfg": make_config()})
    with pytest.raises(CheckpointError, match="gone.safetensors: no such file"):
        run_training(tmp_path, None, {"init": tmp_path / "gone.safetensors"})
    with pytest.raises(CheckpointError, match="lacks head.head_series.2"):
        run_training(tmp_path, None, {"init": trained}, NUM_HEADS=3)
    assert not (tmp_path / "m.safetensors").exists()


def test_a_full_disk_at_the_end_leaves_the_old_checkpoint(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tmp_path, {"SOLVER.MAX_ITER": 20})
    before = content(tmp_path)
    real = os.fsync

    def fail(descriptor: int) -> None:
        if "m.safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="m.safetensors: cannot be written .*the previous file is intact"):
        run_training(tmp_path, {"SOLVER.MAX_ITER": 20}, {"seed": 8})
    monkeypatch.undo()
    assert content(tmp_path) == before
    verify_digest(tmp_path / "m.safetensors")


def test_images_without_boxes_are_not_trained_on(
    make_config: Any, tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    empty = [b[:0] if i % 2 else b for i, b in enumerate(tiny_split.boxes)]
    labels = [x[:0] if i % 2 else x for i, x in enumerate(tiny_split.labels)]
    split = replace(tiny_split, boxes=tuple(empty), labels=tuple(labels))
    seen: set[int] = set()
    real = module._step
    monkeypatch.setattr(module, "_step", lambda c, m, b, *a: seen.update(b.image_ids.tolist()) or real(c, m, b, *a))
    train(make_config({"SOLVER.MAX_ITER": 20}), seed=0, split=split, output=tmp_path / "m.safetensors",
          state_dir=tmp_path / "s", recipe="r", metadata={})  # fmt: skip
    assert seen == {tiny_split.image_ids[i] for i in range(0, 12, 2)}
