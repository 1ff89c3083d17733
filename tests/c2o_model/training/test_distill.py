"""Sampler distillation: the student learns its teacher's end, and only the student."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import run_teacher
from c2o_model.training.distill import SamplerDistillation
from c2o_model.training.draws import draw

KEYS = {"SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 3, "SAMPLER_DISTILL_TOPK": 5,
        "SAMPLER_DISTILL_WEIGHT": 2.0, "SAMPLER_DISTILL_BOX_WEIGHT": 0.5,
        "SAMPLER_DISTILL_CLS_WEIGHT": 0.25}  # fmt: skip
KEYS_OF = [(0, i, 0) for i in range(4)]


def pair(make_detector: Any, frozen: bool = True, **keys: Any) -> SamplerDistillation:
    student = make_detector({"SOLVER.BACKBONE_MULTIPLIER": 0.0} if frozen else None, seed=1, **{**KEYS, **keys})
    teacher = make_detector(seed=2)
    if frozen:
        teacher.backbone.load_state_dict(student.backbone.state_dict())
    return SamplerDistillation(teacher, student)


def test_losses_by_hand(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """Weight x (box weight x (5 L1 + 2 GIoU) + class weight x CE), means over the best nodes, summed over stages."""
    distill = pair(make_detector)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    losses = distill.losses(tiny_batch, draws, features, KEYS_OF)
    target = run_teacher(distill.teacher, features, tiny_batch.whwh, draws.start, 3, 0.0, KEYS_OF)
    unit = (draws.start.clamp(-2, 2) / 2 + 1) / 2 * 64
    boxes = torch.cat([unit[..., :2] - unit[..., 2:] / 2, unit[..., :2] + unit[..., 2:] / 2], -1)
    out = distill.student.head(features, boxes, torch.full((4,), 999), tiny_batch.whwh)
    l1 = giou = ce = 0.0
    for s in range(2):
        for b in range(4):
            for n in target.logits[b].amax(-1).argsort(descending=True)[:5].tolist():
                ours, theirs = out.boxes[s, b, n], target.boxes[b, n]
                l1 += float((ours - theirs).abs().sum()) / 64 / 20
                giou += float(generalized_box_iou_loss(ours, theirs)) / 20
                p, q = target.logits[b, n].sigmoid(), out.logits[s, b, n].sigmoid()
                ce += float(-(p * q.log() + (1 - p) * (1 - q).log()).sum()) / 20
    assert set(losses) == {"loss_distill_bbox", "loss_distill_giou", "loss_distill_ce"}
    assert float(losses["loss_distill_bbox"]) == pytest.approx(2 * 0.5 * 5 * l1, rel=1e-4)
    assert float(losses["loss_distill_giou"]) == pytest.approx(2 * 0.5 * 2 * giou, rel=1e-4)
    assert float(losses["loss_distill_ce"]) == pytest.approx(2 * 0.25 * ce, rel=1e-4)


def test_only_the_student_learns(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    distill = pair(make_detector, frozen=False)
    before = {k: v.clone() for k, v in distill.teacher.state_dict().items()}
    distill.student.train()
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    losses = distill.losses(tiny_batch, draws, distill.student.features(tiny_batch.images), KEYS_OF)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in distill.student.backbone.parameters())
    assert not distill.teacher.training and not any(
        p.requires_grad or p.grad is not None for p in distill.teacher.parameters()
    )
    assert all(torch.equal(v, before[k]) for k, v in distill.teacher.state_dict().items())


@pytest.mark.stack_feature("distillation", stack="detectron2")
def test_the_loss_falls_on_one_batch(make_detector: Any, tiny_batch: TrainingBatch, loss_on_one_batch: Any) -> None:
    distill = pair(make_detector, SAMPLER_DISTILL_CLS_WEIGHT=0.0)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    curve = loss_on_one_batch(distill.student, lambda: distill.losses(tiny_batch, draws, features, KEYS_OF), 60)
    assert curve[-1] < 0.5 * curve[0]


def test_a_student_of_itself_at_one_step_has_nothing_to_learn(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    keys = {**KEYS, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 1, "NUM_HEADS": 1, "SAMPLER_DISTILL_CLS_WEIGHT": 0.0}
    model = make_detector(**keys)
    distill = SamplerDistillation(make_detector(**keys), model)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = [f.detach() for f in model.features(tiny_batch.images)]
    losses = distill.losses(tiny_batch, draws, features, KEYS_OF)
    assert float(losses["loss_distill_bbox"]) == pytest.approx(0, abs=1e-6)
    torch.stack(list(losses.values())).sum().backward()  # what GIoU has left, from boxes without area, is a constant
    assert all(float(p.grad.abs().max()) < 1e-3 for p in model.head.parameters() if p.grad is not None)


def test_equal_frozen_backbones_are_shared_and_others_are_not(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    assert pair(make_detector).shares_features
    assert not pair(make_detector, frozen=False).shares_features
    other = pair(make_detector)
    with torch.no_grad():
        next(other.teacher.backbone.parameters()).add_(1)
    assert not SamplerDistillation(other.teacher, other.student).shares_features
    distill = pair(make_detector)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    shared = distill.losses(tiny_batch, draws, features, KEYS_OF)
    distill.shares_features = False
    apart = distill.losses(tiny_batch, draws, features, KEYS_OF)
    assert all(torch.equal(shared[k], apart[k]) for k in shared)


def test_distilling_some_images_is_distilling_those(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    some = pair(make_detector, SAMPLER_DISTILL_IMAGES=2)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = some.student.features(tiny_batch.images)
    found = some.losses(tiny_batch, draws, features, KEYS_OF)
    first = TrainingBatch(*(getattr(tiny_batch, f)[:2] for f in ("images", "boxes", "labels", "mask", "whwh")))
    every = pair(make_detector).losses(
        first, replace(draws, start=draws.start[:2]), [f[:2] for f in features], KEYS_OF[:2]
    )
    for name in found:
        torch.testing.assert_close(found[name], every[name], rtol=1e-5, atol=1e-6)


def test_a_hybrid_student_starts_unknown(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """Its one step at test time sees "all unknown"; without RELATIVE_TO_UNK that is not the same as no label."""
    keys = {**KEYS, "LABEL_STATE": True, "LABEL_D3PM": True, "LABEL_STATE_RELATIVE_TO_UNK": False}
    student = make_detector(seed=1, **keys)
    torch.nn.init.normal_(student.head.label_embedding.projection.weight)
    seen = []
    real = student.head.label_embedding.forward
    student.head.label_embedding.forward = lambda state: seen.append(real(state)) or seen[-1]
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    SamplerDistillation(make_detector(seed=2), student).losses(
        tiny_batch, draws, student.features(tiny_batch.images), KEYS_OF
    )
    unknown = torch.nn.functional.one_hot(torch.full((4, 8), 3), 4).float()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0].expand(4, 8, -1), real(unknown))
