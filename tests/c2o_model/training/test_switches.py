"""Whole trainings with the other losses, labels and noises: they learn, resume bit for bit, and can be sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2o_model.checkpoint import read_checkpoint
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.training import run as module

FED = {"MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": 2}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qfl, weighted boxes": ({}, {"CLS_LOSS_TYPE": "qfl", "BOX_LOSS_IOU_WEIGHT_POWER": 1.0}),
    "softmax": ({}, {"USE_FOCAL": False}),
    "federated": (FED, {"USE_FED_LOSS": True}),
    "gaussian labels, anisotropic": ({}, {"LABEL_STATE": True, "ANISO_NOISE": True, "ANISO_NOISE_SIGMA_W": 0.5}),
    "softmax, mask labels": ({}, {"USE_FOCAL": False, "LABEL_STATE": True, "LABEL_D3PM": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_learns_resumes_and_is_sampled(
    run_training: Any, make_config: Any, tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    values, keys = CASES[case]
    values = {**values, "SOLVER.MAX_ITER": 40}
    whole = run_training(tmp_path / "whole", values, **keys)
    assert [row["iteration"] for row in whole] == [20, 40]
    assert whole[1]["loss"] < whole[0]["loss"] and all(np.isfinite(v) for row in whole for v in row.values())
    real = module.save_state

    class Stopped(Exception):
        pass

    def stop(*args: Any, **more: Any) -> None:
        real(*args, **more)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_state", stop)
        with pytest.raises(Stopped):
            run_training(tmp_path / "cut", values, **keys)
    torch.rand(3)
    assert run_training(tmp_path / "cut", values, **keys) == whole
    paths = [tmp_path / name / "m.safetensors" for name in ("whole", "cut")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    outputs = read_checkpoint(paths[0])[0]["head.head_series.0.class_logits.weight"].shape[0]
    assert outputs == (4 if "softmax" in case else 3)
    rows = [EvalRow("one", 1), EvalRow("three", 3)]
    for run in evaluate(make_config(values, **keys), paths[0], tiny_split, rows, [0]):
        assert len(run.score) and set(run.label.tolist()) <= {0, 1, 2}
        assert ((run.score >= 0) & (run.score <= 1)).all()


@pytest.mark.parametrize("case", [name for name in CASES if "mask" not in name])
def test_micro_batches_add_up_to_the_whole_batch(run_training: Any, tmp_path: Path, case: str) -> None:
    """Weight sums, background weights, drawn classes and label noise are those of the global batch."""
    values, keys = CASES[case]
    values = {**values, "SOLVER.MAX_ITER": 4, "SOLVER.BASE_LR": 1e-6}
    whole = run_training(tmp_path / "whole", values, **keys)
    parts = run_training(tmp_path / "parts", {**values, "SOLVER.ACCUMULATE_STEPS": 2}, **keys)
    for name in (n for n in whole[0] if n.startswith("loss") or n == "grad_norm"):
        assert parts[0][name] == pytest.approx(whole[0][name], rel=2e-3), name
