"""Two gloo processes are one: the loss curve, one checkpoint, resuming, evaluation, and how errors come back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2o_model.checkpoint import read_checkpoint, verify_digest
from c2o_model.config import ConfigError, dump_resolved
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.training import processes
from c2o_model.training import run as module
from c2o_model.training.launch import launch_processes

# Everything that needs two processes, in one launch: starting them costs more than what they do.
SCRIPT = """
import argparse, json, sys
from pathlib import Path
import numpy as np
import torch
import yaml
from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_split
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.training import processes, run
from c2o_model.training.launch import launch_processes

HERE, ANNOTATION = Path(sys.argv[1]), Path(sys.argv[2])


class Stopped(Exception):
    pass


def stopped(self, iteration):
    if iteration == 25:
        raise Stopped
    return gradients(self, iteration)


gradients = run.SplitStep.gradients


def work(args):
    torch.set_num_threads(1)
    run.CURVE_PERIOD = 1
    rank = processes.rank()
    split = load_split(ANNOTATION, ANNOTATION.parent)

    def train(name, directory, stop=lambda: False):
        cfg = config_from_dict(yaml.safe_load((HERE / f"{name}.yaml").read_text()))
        out = HERE / directory
        return run.train(cfg, seed=3, split=split, output=out / "m.safetensors", state_dir=out / "state", recipe="r",
                         metadata={"x": "y"}, stop=stop)

    report = {"plain": train("plain", "plain"), "full": train("full", "full")}
    run.SplitStep.gradients = stopped
    try:
        train("full", "cut")
        raise AssertionError("it was not stopped")
    except Stopped:
        report["left"] = sorted(p.name for p in (HERE / "cut" / "state").glob("state-*"))
    run.SplitStep.gradients = gradients
    report["cut"] = train("full", "cut")

    asked = iter(range(1, 41))
    try:
        train("full", "asked", lambda: next(asked) == 13 and rank == 1)
        raise AssertionError("it was not stopped")
    except run.TrainingStopped as error:
        report["said"] = str(error)
    report["asked"] = train("full", "asked")

    cfg = config_from_dict(yaml.safe_load((HERE / "plain.yaml").read_text()))
    rows = [EvalRow("one", 1), EvalRow("four", 4)]
    for found in evaluate(cfg, HERE / "single" / "m.safetensors", split, rows, [0, 5], batch_size=5):
        np.savez(HERE / f"{found.exp_id}-{found.eval_seed}-{rank}.npz", image_id=found.image_id, box=found.box,
                 score=found.score, label=found.label)

    whole, one, nobodys = (torch.nn.Parameter(torch.zeros(2, 3, 4, 5)) for _ in range(3))
    whole.data = whole.data.contiguous(memory_format=torch.channels_last)
    whole.grad = torch.arange(120.0).view(2, 3, 4, 5) * (rank + 1)
    if rank == 0:
        one.grad = torch.ones(2, 3, 4, 5)
    processes.BUCKET = 100
    processes.sum_gradients([whole, one, nobodys])
    report |= {
        "whole": whole.grad.flatten().tolist(), "strides": whole.grad.stride(), "one": one.grad.flatten().tolist(),
        "nobodys": nobodys.grad, "alike": [processes.alike([4, -2]), processes.alike([rank])],
        "greatest": processes.greatest([rank, -rank]), "world": processes.world(), "rank": rank,
        "sum": processes.summed(torch.tensor([1.5, float(rank)])).tolist(),
    }
    (HERE / f"report{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    launch_processes(work, argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto"), "cpu")
"""
FULL = {
    "SOLVER.ACCUMULATE_STEPS": 2, "SOLVER.AMP.ENABLED": True, "SOLVER.MAX_ITER": 40, "MODEL_EMA.ENABLED": True,
    "MODEL_EMA.DECAY": 0.9, "INPUT.SHIFT": 9,
}  # fmt: skip
HYBRID = {"DROPOUT": 0.1, "QUALITY_HEAD": True}
PLAIN = {"SOLVER.MAX_ITER": 20}


@pytest.fixture(scope="module")
def here(make_config: Any, run_training: Any, tiny_split: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that one process has trained `single` in, and two processes the rest."""
    root: Path = tmp_path_factory.mktemp("two")
    run_training(root / "single", PLAIN)
    (root / "two.py").write_text(SCRIPT)
    (root / "plain.yaml").write_text(dump_resolved(make_config(PLAIN)))
    (root / "full.yaml").write_text(dump_resolved(make_config(FULL, **HYBRID)))
    done = subprocess.run(
        [sys.executable, str(root / "two.py"), str(root), str(tiny_split.annotation)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture(scope="module")
def reports(here: Path) -> list[dict[str, Any]]:
    """What each process said."""
    return [json.loads((here / f"report{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the loss curve for each iteration."""
    monkeypatch.setattr(module, "CURVE_PERIOD", 1)


def close(curve: list[dict[str, float]], other: list[dict[str, float]], rel: float) -> None:
    """Every loss of every iteration. The gradient's norm jumps where rounding flips a ReLU or the sign of an error."""
    assert len(curve) == len(other)
    for row, second in zip(curve, other, strict=True):
        losses = {k: v for k, v in second.items() if k != "grad_norm"}
        assert {k: row[k] for k in losses} == pytest.approx(losses, rel=rel, abs=rel)
        assert row["grad_norm"] == pytest.approx(second["grad_norm"], rel=100 * rel)


@pytest.mark.stack_feature("processes", stack="detectron2")
@pytest.mark.usefixtures("every_iteration")
def test_two_processes_follow_the_loss_curve_of_one(
    run_training: Any, reports: list[dict[str, Any]], here: Path, tmp_path: Path
) -> None:
    curve = run_training(tmp_path, PLAIN)
    assert [row["iteration"] for row in curve] == list(range(1, 21))
    assert reports[0]["plain"] == reports[1]["plain"]
    close(reports[0]["plain"], curve, 1e-4)
    verify_digest(here / "plain" / "m.safetensors")
    made = sorted(p.name for p in (here / "plain").rglob("*") if p.is_file())
    assert made == ["curve.jsonl", "lock", "m.safetensors", "m.safetensors.sha256", "progress.json"]
    one, two = (read_checkpoint(d / "m.safetensors") for d in (tmp_path, here / "plain"))
    assert one[1] == two[1]
    for name, value in one[0].items():
        torch.testing.assert_close(two[0][name], value, rtol=1e-3, atol=1e-3)


def test_two_parts_have_one_sum(run_training: Any, here: Path, tmp_path: Path) -> None:
    """The bits of two processes are those of one with two micro-batches; more parts are added up in another order."""
    run_training(tmp_path, {**PLAIN, "SOLVER.ACCUMULATE_STEPS": 2})
    assert (tmp_path / "m.safetensors").read_bytes() == (here / "plain" / "m.safetensors").read_bytes()


@pytest.mark.usefixtures("every_iteration")
def test_two_processes_of_two_micro_batches_are_one_of_four(
    run_training: Any, reports: list[dict[str, Any]], tmp_path: Path
) -> None:
    """With dropout, bfloat16, an average and augmentation, since parts carry their own masks wherever they run.

    Ten iterations: after some more (how many depends on the processor) one rounding in bfloat16 changes a match.
    """
    curve = run_training(tmp_path, {**FULL, "SOLVER.ACCUMULATE_STEPS": 4}, **HYBRID)
    close(reports[0]["full"][:10], curve[:10], 1e-5)


def test_two_processes_resume_with_the_same_bits(reports: list[dict[str, Any]], here: Path) -> None:
    assert reports[0]["left"] == ["state-00000020.safetensors", "state-00000020.safetensors.sha256"]
    assert reports[0]["cut"] == reports[0]["full"] == reports[1]["cut"]
    whole, cut = (here / d / "m.safetensors" for d in ("full", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def test_one_of_two_processes_that_is_asked_to_stop_stops_both(reports: list[dict[str, Any]], here: Path) -> None:
    state = here / "asked" / "state"
    for report in reports:
        assert report["said"].startswith(f"{state}: stopped as asked after iteration 13 of 40, the state is saved")
        assert report["asked"] == report["full"]
    assert (here / "asked" / "m.safetensors").read_bytes() == (here / "full" / "m.safetensors").read_bytes()


def test_two_processes_detect_what_one_detects(make_config: Any, tiny_split: Any, reports: Any, here: Path) -> None:
    rows = [EvalRow("one", 1), EvalRow("four", 4)]
    weights = here / "single" / "m.safetensors"
    for run in evaluate(make_config(PLAIN), weights, tiny_split, rows, [0, 5], batch_size=5):
        for rank in (0, 1):
            with np.load(here / f"{run.exp_id}-{run.eval_seed}-{rank}.npz") as two:
                assert len(two["image_id"]) > 0
                for name in ("image_id", "box", "score", "label"):
                    assert np.array_equal(two[name], getattr(run, name)), name


def test_sums_over_processes(reports: list[dict[str, Any]]) -> None:
    for rank, report in enumerate(reports):
        assert report["rank"] == rank and report["world"] == 2
        assert report["whole"] == [3.0 * i for i in range(120)]
        assert report["strides"] == [60, 1, 15, 3]  # as the parameter's
        assert report["one"] == [1.0] * 120 and report["nobodys"] is None
        assert report["alike"] == [True, False] and report["greatest"] == [1, 0]
        assert report["sum"] == [3.0, 1.0]


def test_a_single_process_is_alone() -> None:
    value = torch.tensor([1.0])
    assert processes.summed(value) is value and processes.world() == 1 and processes.rank() == 0
    assert processes.greatest([4, -7]) == [4, -7] and processes.alike([3])
    parameter = torch.nn.Parameter(torch.zeros(2))
    processes.sum_gradients([parameter])
    assert parameter.grad is None


def test_what_a_machine_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    args = Namespace(num_gpus=4, num_machines=1, machine_rank=0, dist_url="auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=re.escape("--num-gpus: 4, but this machine has 2 GPU(s); use fewer, or")):
        launch_processes(print, args, "cuda")
    args.num_machines = 2
    with pytest.raises(ConfigError, match="^--dist-url: several machines need tcp://HOST:PORT of machine 0"):
        launch_processes(print, args, "cpu")
