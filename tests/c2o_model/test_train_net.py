"""The command line: help, training, resuming, evaluating, and one line on stderr for what cannot work."""

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

from c2o_model import train_net
from c2o_model.checkpoint import read_checkpoint
from tests.c2o_model.slurm_stand_in import Slurm

ROOT = Path(__file__).parents[2]


@pytest.fixture
def setup(tiny_arguments: Callable[..., list[str]]) -> list[str]:
    """Arguments that train the tiny model two iterations on a registered set."""
    return tiny_arguments(2)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nsys.argv = ['x', '--help']\nfrom c2o_model.train_net import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0 and 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for word in ("--config-file", "--eval-only", "--num-gpus", "KEY VALUE", "python -m c2o_model.train_net"):
        assert word in said


def test_train_then_evaluate(setup: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = ["TEST.EVAL_PERIOD", "20", "MODEL.DiffusionDet.PRIOR_PROB", "0.4"]
    assert train_net.main([*setup[:2], "--num-gpus", "1", *setup[2:], "SEED", "4", *measured]) == 0
    out = tmp_path / "out"
    said = capsys.readouterr()
    assert re.search(r"iteration 2/2  loss \d+\.\d+  AP \d+\.\d  eta", said.out)
    assert f"wrote {out / 'model_final.safetensors'}" in said.out
    rows = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [2] and 0 <= rows[0]["AP"] <= 100
    _, metadata = read_checkpoint(out / "model_final.safetensors")
    assert metadata["train_seed"] == "4" and metadata["iterations"] == "2"
    config = (out / "config.yaml").read_bytes()
    weights = ["MODEL.WEIGHTS", str(out / "model_final.safetensors")]
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert train_net.main([*setup[:2], "--eval-only", "--eval-seeds", "0", "3", "--", *setup[2:], *weights]) == 0
    said = capsys.readouterr()
    for seed in (0, 3):
        assert f"tiny_set: 1 step(s), eval seed {seed}" in said.out
    assert said.out.count("Average Precision") == 12 or "no detections" in said.out
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before and config == before[
        out / "config.yaml"
    ]


def test_the_same_command_gives_the_same_bytes(setup: list[str], tmp_path: Path) -> None:
    assert train_net.main(setup) == 0
    first = (tmp_path / "out" / "model_final.safetensors").read_bytes()
    assert train_net.main([setup[0], setup[1], "--resume", *setup[2:]]) == 0
    assert (tmp_path / "out" / "model_final.safetensors").read_bytes() == first
    assert train_net.main([*setup, "MODEL.WEIGHTS", ""]) == 0  # what a shell makes of KEY "": no weights, as before
    assert (tmp_path / "out" / "model_final.safetensors").read_bytes() == first


def test_a_slurm_job_whose_time_is_over_is_run_again_and_goes_on(
    setup: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_net.main(setup) == 0
    setup[3] = str(tmp_path / "slices")
    with monkeypatch.context() as patch:
        slurm = Slurm(tmp_path, patch)
        patch.setenv("SLURM_JOB_END_TIME", "2000")  # long ago
        slurm.says("RUNNING", 2000)
        assert train_net.main(setup) == train_net.STOPPED == 75
        assert slurm.told == ["requeue 12"]
    said = capsys.readouterr()
    assert "stopped 0 s before the SLURM job's time is over; SLURM runs the job again" in said.out
    assert (
        f"stopped: {tmp_path / 'slices' / 'state'}: stopped as asked after iteration 1 of 2, the state is" in said.err
    )
    assert train_net.main(setup) == 0
    slices, whole = (read_checkpoint(tmp_path / name / "model_final.safetensors")[0] for name in ("slices", "out"))
    assert slices.keys() == whole.keys() and all(torch.equal(slices[name], whole[name]) for name in whole)


def test_distillation_finds_its_teachers_configuration(setup: list[str], tmp_path: Path) -> None:
    assert train_net.main(setup) == 0
    teacher = tmp_path / "out" / "model_final.safetensors"
    student = [*setup, "OUTPUT_DIR", str(tmp_path / "student"), "MODEL.DiffusionDet.SAMPLER_DISTILL", "True",
               "MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP", "2",
               "MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_WEIGHTS", str(teacher),
               "MODEL.WEIGHTS", str(teacher)]  # fmt: skip
    assert train_net.main(student) == 0
    row = json.loads((tmp_path / "student" / "metrics.json").read_text())
    assert row["loss_distill_bbox"] > 0
    student = [*setup, "OUTPUT_DIR", str(tmp_path / "consistent"), "MODEL.DiffusionDet.CONSISTENCY_DISTILL", "True",
               "MODEL.DiffusionDet.CONSISTENCY_DISTILL_TEACHER_WEIGHTS", str(teacher)]  # fmt: skip
    assert train_net.main(student) == 0
    row = json.loads((tmp_path / "consistent" / "metrics.json").read_text())
    assert row["loss_consistency_bbox"] > 0 and row["loss_consistency_ce"] > 0


@pytest.mark.parametrize("switch", ["SAMPLER_DISTILL", "CONSISTENCY_DISTILL"])
def test_a_teacher_that_is_missing_is_named(
    setup: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], switch: str
) -> None:
    key = f"MODEL.DiffusionDet.{switch}"
    on = [*setup, key, "True"]
    alone = tmp_path / "alone.safetensors"
    for weights, message in (
        ([], f"error: {key}: needs a teacher checkpoint ({key}_TEACHER_WEIGHTS or the suite's `teacher`)"),
        ([alone], f"error: {key}_TEACHER_WEIGHTS: {alone}: no config.yaml beside it; put the teacher's configuration"),
    ):
        assert train_net.main([*on, *[w for path in weights for w in (f"{key}_TEACHER_WEIGHTS", str(path))]]) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(message)
    (tmp_path / "config.yaml").write_text((tmp_path / "tiny.yaml").read_text())
    assert train_net.main([*on, f"{key}_TEACHER_WEIGHTS", str(alone)]) == 2
    assert f"{alone}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "flags", "message"),
    [
        (["SOLVER.BASELR", "1"], [], "SOLVER.BASELR: unknown configuration key; did you mean SOLVER.BASE_LR?"),
        (["SOLVER.BASE_LR"], [], "SOLVER.BASE_LR: a key without a value"),
        (["DATASETS.TRAIN", "()"], [], "DATASETS.TRAIN: is empty; name a registered data set"),
        (["DATASETS.TRAIN", "('nowhere_set',)"], [], "nowhere_set: is not the name of a data set"),
        (
            ["DATASETS.TRAIN", "('tiny_set', 'tiny_set')"],
            [],
            "DATASETS.TRAIN: tiny_set is listed twice",
        ),
        (["MODEL.WEIGHTS", "/nowhere/m.safetensors"], [], "/nowhere/m.safetensors: no such file"),
        (
            ["TEST.EVAL_PERIOD", "5", "DATASETS.TEST", "()"],
            [],
            "TEST.EVAL_PERIOD: 5 needs a set to evaluate on; name one in DATASETS.TEST",
        ),
        (["SOLVER.CHECKPOINT_PERIOD", "7"], [], "SOLVER.CHECKPOINT_PERIOD: 7 is no multiple of 20"),
        (["SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_ITERS", "0", "SOLVER.MAX_ITER", "9"], [], "loss is not finite"),
        (["MODEL.DEVICE", "cuda"], ["--num-gpus", "99"], "--num-gpus: 99, but this machine has "),
        ([], ["--num-machines", "2"], "--dist-url: several machines need tcp://HOST:PORT of machine 0"),
        ([], ["--eval-only"], "MODEL.WEIGHTS: is empty; name the checkpoint to evaluate"),
        (["DATASETS.TEST", "()"], ["--eval-only"], "DATASETS.TEST: is empty"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    setup: list[str], extra: list[str], flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_net.main([*setup[:2], *flags, *setup[2:], *extra]) == train_net.USER_ERROR == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and message in said


def test_several_processes_on_one_command_line(
    setup: list[str], tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Two sets, two processes, one checkpoint; and what a process finds wrong is one line, as ever."""
    again = tmp_path / "again.json"
    again.write_bytes(tiny_split.annotation.read_bytes())
    sets = f"tiny_set:{tiny_split.annotation}:{tiny_split.image_root};more:{again}:{tiny_split.image_root}"
    monkeypatch.setenv("EXTRA_COCO_DATASETS", sets)
    two = [*setup[:2], "--num-gpus", "2", *setup[2:], "DATASETS.TRAIN", "('tiny_set', 'more')"]
    run = [sys.executable, "-m", "c2o_model.train_net", *two]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    out = tmp_path / "out"
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(f"wrote {out / 'model_final.safetensors'}") == 1
    assert train_net.main([*setup, "DATASETS.TRAIN", "('tiny_set', 'more')", "OUTPUT_DIR", str(tmp_path / "one")]) == 0
    one, row = (json.loads((tmp_path / d / "metrics.json").read_text()) for d in ("one", "out"))
    assert row == pytest.approx(one, rel=1e-4)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "c2o_model.train_net"]
    joined = [*two[:2], *two[4:], "OUTPUT_DIR", str(tmp_path / "joined")]
    done = subprocess.run([*torchrun, *joined], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "joined" / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()
    a, b = (read_checkpoint(tmp_path / d / "model_final.safetensors")[1] for d in ("one", "out"))
    assert a["train_seed"] == b["train_seed"] and a["recipe"] != b["recipe"]
    assert train_net.main([*two, "SOLVER.IMS_PER_BATCH", "3"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: SOLVER.IMS_PER_BATCH: 3 cannot be split evenly over 2 process(es) of 1 micro-batch")


def test_a_missing_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_net.main(["--config-file", "gone.yaml"]) == 2
    assert capsys.readouterr().err == "error: gone.yaml: no such configuration file\n"
    with pytest.raises(SystemExit) as caught:
        train_net.main([])
    assert caught.value.code == 2
