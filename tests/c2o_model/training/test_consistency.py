"""Consistency distillation: the student imitates its teacher at the same noise and time, and only it learns."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from c2o_model.checkpoint import read_checkpoint
from c2o_model.config import ConfigError
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.consistency import ConsistencyDistillation
from c2o_model.training.draws import draw

ON = {"CONSISTENCY_DISTILL": True}
KEYS = {**ON, "CONSISTENCY_DISTILL_BOX_WEIGHT": 0.5, "CONSISTENCY_DISTILL_CLS_WEIGHT": 0.25,
        "CONSISTENCY_DISTILL_TEMPERATURE": 2.0}  # fmt: skip
HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True}
NAMES = {"loss_consistency_bbox", "loss_consistency_giou", "loss_consistency_ce"}
SWITCH = "MODEL.DiffusionDet.CONSISTENCY_DISTILL"


def pair(make_detector: Any, frozen: bool = True, teacher: Any = None, **keys: Any) -> ConsistencyDistillation:
    student = make_detector({"SOLVER.BACKBONE_MULTIPLIER": 0.0} if frozen else None, seed=1, **{**KEYS, **keys})
    taught = make_detector(seed=2, **(teacher or {}))
    if frozen:
        taught.backbone.load_state_dict(student.backbone.state_dict())
    return ConsistencyDistillation(taught, student)


def run(distill: ConsistencyDistillation, batch: TrainingBatch) -> tuple[dict[str, Tensor], HeadOutput, Any]:
    """The losses, the student's output and the arguments its head was given."""
    student, seen, given = distill.student, [], []
    draws = draw(0, 0, 4, 8, batch.mask.shape[1], 1000)
    features = student.features(batch.images)
    handle = student.head.register_forward_pre_hook(lambda _, args: given.append(args))
    student.losses(batch, draws, features, watch=lambda *what: seen.append(what))
    handle.remove()
    return distill.losses(batch, draws, features, seen[0][0]), seen[0][0], given[0]


def test_losses_by_hand(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """Box weight x (5 L1 + 2 GIoU) and class weight x T^2 x CE at T, means over nodes, summed over two stages."""
    distill = pair(make_detector)
    losses, out, (features, boxes, t, whwh, state) = run(distill, tiny_batch)
    assert state is None
    target = distill.teacher.head(features, boxes, t, whwh)
    l1 = giou = ce = 0.0
    for s in range(2):
        for b in range(4):
            for n in range(8):
                ours, theirs = out.boxes[s, b, n].detach(), target.boxes[-1, b, n]
                l1 += sum(abs(float(x - y)) / 64 for x, y in zip(ours, theirs, strict=True)) / 32
                giou += float(generalized_box_iou_loss(ours, theirs)) / 32
                p = (target.logits[-1, b, n] / 2).sigmoid()
                q = (out.logits[s, b, n].detach() / 2).sigmoid()
                ce += float(-(p * q.log() + (1 - p) * (1 - q).log()).sum()) / 32
    assert set(losses) == NAMES
    assert float(losses["loss_consistency_bbox"].detach()) == pytest.approx(0.5 * 5 * l1, rel=1e-4)
    assert float(losses["loss_consistency_giou"].detach()) == pytest.approx(0.5 * 2 * giou, rel=1e-4)
    assert float(losses["loss_consistency_ce"].detach()) == pytest.approx(0.25 * 4 * ce, rel=1e-4)


def test_both_see_the_same_nodes_labels_and_times(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    distill = pair(make_detector, teacher=HYBRID, **HYBRID)
    given: list[Any] = []
    distill.teacher.head.register_forward_pre_hook(lambda _, args: given.append(args))
    _, _, ours = run(distill, tiny_batch)
    (theirs,) = given
    assert all(torch.equal(a, b) for a, b in zip(ours[0], theirs[0], strict=True))  # the shared pyramid
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(a, b)
    assert ours[4] is not None and ours[4][..., :3].any()  # some nodes know their class


def test_a_teacher_without_labels_ignores_them_and_one_with_them_sees_unknown(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    plain = pair(make_detector, **HYBRID)
    assert set(run(plain, tiny_batch)[0]) == NAMES
    given: list[Any] = []
    hybrid = pair(make_detector, teacher=HYBRID)
    hybrid.teacher.head.register_forward_pre_hook(lambda _, args: given.append(args))
    run(hybrid, tiny_batch)
    assert given[0][4] is None  # the head reads it as "all unknown"


def test_only_the_student_learns(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    distill = pair(make_detector, frozen=False)
    assert not distill.shares_features
    before = {k: v.clone() for k, v in distill.teacher.state_dict().items()}
    distill.student.train()
    torch.stack(list(run(distill, tiny_batch)[0].values())).sum().backward()
    for name, parameter in distill.student.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for stage in distill.student.head.head_series:  # every stage imitates the end
        assert stage.class_logits.weight.grad.any() and stage.bboxes_delta.weight.grad.any()
    assert not distill.teacher.training
    assert not any(p.requires_grad or p.grad is not None for p in distill.teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in distill.teacher.state_dict().items())


def test_without_deep_supervision_the_last_stage_learns_alone(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    every, last = pair(make_detector), pair(make_detector, DEEP_SUPERVISION=False)
    losses, out, (features, boxes, t, whwh, _) = run(last, tiny_batch)
    target = last.teacher.head(features, boxes, t, whwh)
    l1 = ((out.boxes[-1] - target.boxes[-1]).abs() / 64).sum(-1).mean()
    assert float(losses["loss_consistency_bbox"].detach()) == pytest.approx(2.5 * float(l1.detach()), rel=1e-5)
    assert float(run(every, tiny_batch)[0]["loss_consistency_bbox"].detach()) > 2.5 * float(l1.detach())


def test_a_copy_of_the_teacher_has_nothing_to_learn(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    student, teacher = make_detector(NUM_HEADS=1, **KEYS), make_detector(NUM_HEADS=1)
    losses, _, _ = run(ConsistencyDistillation(teacher, student), tiny_batch)
    assert float(losses["loss_consistency_bbox"].detach()) == pytest.approx(0, abs=1e-5)  # of 64 px
    losses["loss_consistency_ce"].backward()  # the entropy of the soft targets is left, at a minimum of the student's
    assert all(float(p.grad.abs().max()) < 1e-5 for p in student.head.parameters() if p.grad is not None)


def test_a_weight_of_zero_leaves_its_losses_out(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    boxes = run(pair(make_detector, CONSISTENCY_DISTILL_CLS_WEIGHT=0.0), tiny_batch)[0]
    classes = run(pair(make_detector, CONSISTENCY_DISTILL_BOX_WEIGHT=0.0), tiny_batch)[0]
    assert set(boxes) == NAMES - {"loss_consistency_ce"} and set(classes) == {"loss_consistency_ce"}


def test_equal_frozen_backbones_are_shared_to_the_bit(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    distill = pair(make_detector)
    assert distill.shares_features
    shared = run(distill, tiny_batch)[0]
    distill.shares_features = False
    apart = run(distill, tiny_batch)[0]
    assert all(torch.equal(shared[k], apart[k]) for k in shared)


def test_the_loss_falls_on_one_batch(make_detector: Any, tiny_batch: TrainingBatch, loss_on_one_batch: Any) -> None:
    distill = pair(make_detector, CONSISTENCY_DISTILL_CLS_WEIGHT=0.0)
    curve = loss_on_one_batch(distill.student, lambda: run(distill, tiny_batch)[0], 40)
    assert curve[-1] < 0.5 * curve[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"NUM_CLASSES": 4}, r"NUM_CLASSES: 3, but the teacher of CONSISTENCY_DISTILL has 4; both must see the same"),
        ({"DIFFUSION_TIMESTEPS": 500}, r"DIFFUSION_TIMESTEPS: 1000, but the teacher .* has 500"),
        ({"SNR_SCALE": 1.0}, r"SNR_SCALE: 2.0, but the teacher .* has 1.0"),
    ],
)
def test_a_teacher_of_other_noise_is_refused(make_detector: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConsistencyDistillation(make_detector(**keys), make_detector(**KEYS))


def test_the_switch_adds_no_parameter_and_moves_no_initial_weight(make_config: Any) -> None:
    from detectron2.modeling import build_model

    states = []
    for keys in ({}, KEYS):
        torch.manual_seed(7)
        states.append(build_model(make_config(**keys)).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_a_training_with_a_teacher_and_the_messages_of_one_without(
    run_training: Any, make_config: Any, trained: Path, tmp_path: Path
) -> None:
    """Through the loop, as the rule distill calls it: the teacher's checkpoint and configuration."""
    frozen = {"SOLVER.BACKBONE_MULTIPLIER": 0.0, "SOLVER.MAX_ITER": 20}
    more = {"init": trained, "teacher": trained, "teacher_cfg": make_config()}
    curve = run_training(tmp_path / "taught", frozen, more, **ON)
    assert set(curve[0]) >= NAMES | {"class_accuracy", "l1", "loss_ce"}
    parts = sum(v for k, v in curve[0].items() if k.startswith("loss_"))
    assert curve[0]["loss"] == pytest.approx(parts, rel=1e-4)
    plain = run_training(tmp_path / "plain", frozen, {"init": trained})
    assert plain[0].keys() == curve[0].keys() - NAMES
    taught, alone = (read_checkpoint(tmp_path / d / "m.safetensors")[0] for d in ("taught", "plain"))
    assert taught.keys() == alone.keys() and any(not torch.equal(v, alone[k]) for k, v in taught.items())
    with pytest.raises(ConfigError, match=f"{SWITCH}: needs a teacher checkpoint \\({SWITCH}_TEACHER_WEIGHTS or the"):
        run_training(tmp_path / "none", frozen, **ON)
    for switch in ("CONSISTENCY_DISTILL", "SAMPLER_DISTILL"):
        weights = f"MODEL.DiffusionDet.{switch}_TEACHER_WEIGHTS: other.safetensors, but the teacher given is {trained}"
        with pytest.raises(ConfigError, match=f"{re.escape(weights)}; remove one of them"):
            run_training(
                tmp_path / "two", frozen, more, **{switch: True, f"{switch}_TEACHER_WEIGHTS": "other.safetensors"}
            )


def test_every_setting_is_read_from_its_key(make_config: Any) -> None:
    from c2o_model.config import typed_config

    values = {"CONSISTENCY_DISTILL": True, "CONSISTENCY_DISTILL_BOX_WEIGHT": 0.1, "CONSISTENCY_DISTILL_CLS_WEIGHT": 0.2,
              "CONSISTENCY_DISTILL_TEMPERATURE": 3.0, "CONSISTENCY_DISTILL_TEACHER_WEIGHTS": "a"}  # fmt: skip
    settings = typed_config(make_config(**values)).consistency
    assert {f.name.upper(): getattr(settings, f.name) for f in fields(settings)} == values
