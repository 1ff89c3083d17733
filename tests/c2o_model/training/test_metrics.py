"""Class accuracy and L1 of the curve: by hand, against the losses, and without a trace in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.matcher import Match
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training import run as module
from c2o_model.training.metrics import MatchMetrics


def batch_of(boxes: torch.Tensor, labels: torch.Tensor, side: float = 10.0) -> TrainingBatch:
    b = len(labels)
    return TrainingBatch([], boxes, labels, labels >= 0, torch.full((b, 4), side))


def output(logits: torch.Tensor, boxes: torch.Tensor) -> HeadOutput:
    return HeadOutput(logits, boxes, None)


def test_by_hand() -> None:
    """Two images, two stages; only the last stage counts: its matched nodes are (0,0), (0,2) and (1,1)."""
    gt = torch.tensor([[[0.0, 0, 5, 5], [5, 5, 9, 9]], [[1, 1, 4, 4], [0, 0, 0, 0]]])
    labels = torch.tensor([[2, 0], [1, -1]])
    index = torch.tensor([[0, 0, 0], [0, 0, 0], [1, -1, 0], [-1, 0, -1]])  # stage 0 of both images, then stage 1
    logits = torch.full((2, 2, 3, 3), -9.0)
    logits[1, 0, 0, 0] = 1  # right: object 1 is of class 0
    logits[1, 0, 2, 1] = 1  # wrong: object 0 is of class 2
    logits[1, 1, 1, 1] = -3  # right, below 0 or not
    boxes = torch.zeros(2, 2, 3, 4)
    boxes[1, 0, 0] = torch.tensor([5.0, 6, 9, 7])  # 0 + 1 + 0 + 2 = 3 px
    boxes[1, 0, 2] = torch.tensor([0.0, 0, 5, 5])  # 0
    boxes[1, 1, 1] = torch.tensor([0.0, 1, 4, 9])  # 1 + 0 + 0 + 5 = 6 px
    metrics = MatchMetrics()
    metrics.add(output(logits, boxes), Match(index, torch.zeros(4, 3)), batch_of(gt, labels))
    metrics.end_iteration()
    row = metrics.row()
    assert row == {"class_accuracy": pytest.approx(2 / 3), "l1": pytest.approx((0.3 + 0.0 + 0.6) / 3)}
    assert metrics.row() == {}


def test_a_row_is_the_mean_over_its_iterations_and_starts_anew() -> None:
    gt, labels = torch.tensor([[[0.0, 0, 5, 5]]]), torch.tensor([[1]])
    right, wrong = torch.tensor([[[[0.0, 1]]]]), torch.tensor([[[[1.0, 0]]]])
    near, pairs = gt[None], Match(torch.zeros(1, 1).long(), torch.zeros(1, 1))
    metrics = MatchMetrics()
    for logits, boxes in ((right, near), (wrong, near + 1), (wrong, near)):
        metrics.add(output(logits, boxes), pairs, batch_of(gt, labels))
        metrics.end_iteration()
    assert metrics.row() == {"class_accuracy": pytest.approx(1 / 3), "l1": pytest.approx(0.4 / 3)}
    metrics.add(output(right, near), pairs, batch_of(gt, labels))
    metrics.end_iteration()
    assert metrics.row() == {"class_accuracy": 1.0, "l1": 0.0}


def test_nothing_matched_counts_as_zero() -> None:
    for objects in (0, 2):
        metrics = MatchMetrics()
        pairs = Match(torch.full((2, 3), -1), torch.zeros(2, 3))
        batch = batch_of(torch.zeros(2, objects, 4), torch.full((2, objects), -1))
        metrics.add(output(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)), pairs, batch)
        metrics.end_iteration()
        assert metrics.row() == {"class_accuracy": 0.0, "l1": 0.0}


def test_the_curve_has_them_and_l1_is_the_box_loss_without_its_weight(run_training: Any, tmp_path: Path) -> None:
    curve = run_training(tmp_path, {"SOLVER.MAX_ITER": 60, "SOLVER.BASE_LR": 0.004})
    for row in curve:
        assert row["l1"] == pytest.approx(row["loss_bbox"] / 5, rel=1e-5)
        assert 0 <= row["class_accuracy"] <= 1
    assert curve[-1]["class_accuracy"] > 1 / 3  # better than a guess among three
    assert curve[-1]["l1"] < curve[0]["l1"]


def test_training_does_not_notice_them(run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"SOLVER.MAX_ITER": 20}
    seen = run_training(tmp_path / "seen", short)
    with monkeypatch.context() as patch:
        patch.setattr(module.MatchMetrics, "add", lambda *_: None)
        blind = run_training(tmp_path / "blind", short)
    assert [{k: v for k, v in row.items() if k not in ("class_accuracy", "l1")} for row in seen] == blind
    a, b = ((tmp_path / d / "m.safetensors").read_bytes() for d in ("seen", "blind"))
    assert a == b


def test_a_pretraining_has_no_matches(run_training: Any, tmp_path: Path) -> None:
    values = {"MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer", "MODEL.RESNETS.NORM": "BN",
              "MODEL.PRETRAIN.SIZE_EDGES": [16.0, 24.0], "SOLVER.MAX_ITER": 20}  # fmt: skip
    assert not {"class_accuracy", "l1"} & run_training(tmp_path, values)[0].keys()
