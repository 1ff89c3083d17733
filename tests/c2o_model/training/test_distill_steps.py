"""A student of several steps: its sampler written out with the head as a black box, forward and backward."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from c2o_model.config import ConfigError, load_config
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import run_aligned, run_teacher
from c2o_model.training.distill import SamplerDistillation
from c2o_model.training.draws import draw

KEYS = {"SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 5, "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP": 3,
        "SAMPLER_DISTILL_TOPK": 5, "SAMPLER_DISTILL_WEIGHT": 2.0, "SAMPLER_DISTILL_BOX_WEIGHT": 0.5,
        "SAMPLER_DISTILL_CLS_WEIGHT": 0.25}  # fmt: skip
HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True}
KEYS_OF = [(0, i, 0) for i in range(4)]
STEP = "MODEL.DiffusionDet.SAMPLER_DISTILL_STUDENT_SAMPLE_STEP"
DIGITS = Path(__file__).resolve().parents[3] / "configs" / "models" / "digits"


def pair(make_detector: Any, **keys: Any) -> SamplerDistillation:
    student = make_detector({"SOLVER.BACKBONE_MULTIPLIER": 0.0}, seed=1, **{**KEYS, **keys})
    if student.head.label_embedding is not None:
        nn.init.normal_(student.head.label_embedding.projection.weight)
    teacher = make_detector(seed=2)
    teacher.backbone.load_state_dict(student.backbone.state_dict())
    return SamplerDistillation(teacher, student)


def signal_powers() -> list[float]:
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(1001)]
    return list(itertools.accumulate((1 - min(1 - f[i + 1] / f[i], 0.999) for i in range(1000)), lambda a, b: a * b))


def written_out(head: Any, features: list[Tensor], start: Tensor, steps: int) -> HeadOutput:
    """DDIM with eta 0 (arXiv 2010.02502, eq. 12) over boxes of 64 px images, nothing detached."""
    ab, x, whwh = signal_powers(), start, torch.full((4, 4), 64.0)
    times = [1000 * i // steps - 1 for i in range(steps, -1, -1)]
    for t, s in itertools.pairwise(times):
        unit = (x.clamp(-2, 2) / 2 + 1) / 2 * 64
        boxes = torch.cat([unit[..., :2] - unit[..., 2:] / 2, unit[..., :2] + unit[..., 2:] / 2], -1)
        out: HeadOutput = head(features, boxes, torch.full((4,), t), whwh)
        if s < 0:
            break
        low, high = out.boxes[-1].split(2, -1)
        x0 = ((torch.cat([(low + high) / 2, high - low], -1) / 64 * 2 - 1) * 2).clamp(-2, 2)
        noise = (x - math.sqrt(ab[t]) * x0) / math.sqrt(1 - ab[t])
        x = math.sqrt(ab[s]) * x0 + math.sqrt(1 - ab[s]) * noise
    return out


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("steps", [2, 3])
def test_losses_and_gradients_by_hand(make_detector: Any, tiny_batch: TrainingBatch, steps: int) -> None:
    """All stages of the last of k steps against the teacher's end, and the derivative through all k steps."""
    distill = pair(make_detector, SAMPLER_DISTILL_STUDENT_SAMPLE_STEP=steps)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    losses = distill.losses(tiny_batch, draws, features, KEYS_OF)
    found = gradients(distill.student, torch.stack(list(losses.values())).sum())

    target = run_teacher(distill.teacher, features, tiny_batch.whwh, draws.start, 5, 0.0, KEYS_OF)
    out = written_out(distill.student.head, features, draws.start, steps)
    l1, giou, ce = torch.zeros(3).unbind()
    for s, b in itertools.product(range(2), range(4)):
        for n in target.logits[b].amax(-1).argsort(descending=True)[:5].tolist():
            ours, theirs = out.boxes[s, b, n], target.boxes[b, n]
            l1 = l1 + (ours - theirs).abs().sum() / 64 / 20
            giou = giou + generalized_box_iou_loss(ours, theirs) / 20
            p, q = target.logits[b, n].sigmoid(), out.logits[s, b, n].sigmoid()
            ce = ce - (p * q.log() + (1 - p) * (1 - q).log()).sum() / 20
    by_hand = {"loss_distill_bbox": 5 * l1, "loss_distill_giou": 2 * giou, "loss_distill_ce": 0.5 * ce}
    for name, value in by_hand.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-3, atol=1e-5)
    expected = gradients(distill.student, torch.stack(list(by_hand.values())).sum())
    assert found.keys() == expected.keys() and len(found) == len(list(distill.student.head.parameters()))
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("kind", "labels_carry"), [("plain", False), ("hybrid", True), ("hard", False)])
def test_every_step_is_part_of_the_gradient(
    make_detector: Any, tiny_batch: TrainingBatch, kind: str, labels_carry: bool
) -> None:
    """Of its boxes always; of its classes where their distribution goes on to the next step."""
    keys = {} if kind == "plain" else {**HYBRID, "LABEL_D3PM_USE_DISTRIBUTION": kind == "hybrid"}
    distill = pair(make_detector, **keys)
    steps: list[HeadOutput] = []

    def keep(module: nn.Module, args: Any, out: HeadOutput) -> None:
        out.boxes.retain_grad()
        out.logits.retain_grad()
        steps.append(out)

    distill.student.head.register_forward_hook(keep)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    torch.stack(list(distill.losses(tiny_batch, draws, features, KEYS_OF).values())).sum().backward()
    assert len(steps) == 3
    for out in steps[:-1]:
        assert out.boxes.grad is not None and out.boxes.grad[-1].any() and not out.boxes.grad[0].any()
        assert (out.logits.grad is not None and bool(out.logits.grad[-1].any())) == labels_carry
    assert steps[-1].boxes.grad.flatten(1).any(1).all() and steps[-1].logits.grad.flatten(1).any(1).all()
    assert not any(p.requires_grad or p.grad is not None for p in distill.teacher.parameters())


def test_one_step_is_the_old_single_pass_to_the_bit(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """The default: one pass of the head from the noise, label state None, and run_aligned gives the same numbers."""
    for keys in ({}, HYBRID):
        distill = pair(make_detector, SAMPLER_DISTILL_STUDENT_SAMPLE_STEP=1, **keys)
        given: list[Any] = []
        handle = distill.student.head.register_forward_pre_hook(lambda _, args, seen=given: seen.append(args))
        draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
        features = distill.student.features(tiny_batch.images)
        distill.losses(tiny_batch, draws, features, KEYS_OF)
        handle.remove()
        assert len(given) == 1 and len(given[0]) == 4 and given[0][2].tolist() == [999] * 4
        out = distill.student.head(*given[0])
        whole = run_aligned(distill.student, features, tiny_batch.whwh, draws.start, 1, 0.0, KEYS_OF)
        torch.testing.assert_close(whole.boxes, out.boxes, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(whole.logits, out.logits, rtol=1e-5, atol=1e-5)


def test_a_student_of_as_many_steps_that_is_its_teacher_has_nothing_to_learn(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    keys = {**KEYS, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 3, "NUM_HEADS": 1, "SAMPLER_DISTILL_CLS_WEIGHT": 0.0}
    model = make_detector(**keys)
    distill = SamplerDistillation(make_detector(**keys), model)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = [f.detach() for f in model.features(tiny_batch.images)]
    losses = distill.losses(tiny_batch, draws, features, KEYS_OF)
    assert float(losses["loss_distill_bbox"].detach()) == pytest.approx(0, abs=1e-4)


def test_the_loss_of_three_steps_falls_on_one_batch(
    make_detector: Any, tiny_batch: TrainingBatch, loss_on_one_batch: Any
) -> None:
    distill = pair(make_detector, SAMPLER_DISTILL_CLS_WEIGHT=0.0)
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    features = distill.student.features(tiny_batch.images)
    curve = loss_on_one_batch(distill.student, lambda: distill.losses(tiny_batch, draws, features, KEYS_OF), 60)
    assert curve[-1] < 0.6 * curve[0]


def test_combinations_that_cannot_be_name_their_key(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=f"{STEP}: 6 exceeds SAMPLER_DISTILL_TEACHER_SAMPLE_STEP 5; a student is to"):
        make_config(**{**KEYS, "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP": 6})
    with pytest.raises(ConfigError, match=f"{STEP}: 0 is below the smallest allowed value 1"):
        make_config(**{**KEYS, "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP": 0})
    with pytest.raises(ConfigError, match=r"TEACHER_SAMPLE_STEP: 20 exceeds DIFFUSION_TIMESTEPS 10$"):
        make_config(SAMPLER_DISTILL=True, DIFFUSION_TIMESTEPS=10)
    make_config(DIFFUSION_TIMESTEPS=10)  # where nothing is distilled the teacher's steps do not matter
    with pytest.raises(ConfigError, match="CONSISTENCY_DISTILL: True excludes .*SAMPLER_DISTILL: True; a student has"):
        make_config(SAMPLER_DISTILL=True, CONSISTENCY_DISTILL=True)
    for switch in ("SAMPLER_DISTILL", "CONSISTENCY_DISTILL"):
        with pytest.raises(ConfigError, match=f"{switch}: True needs MODEL.META_ARCHITECTURE: DiffusionDet, not C2O"):
            make_config({"MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer"}, **{switch: True})
    with pytest.raises(ConfigError, match="CONSISTENCY_DISTILL: True with BOX_WEIGHT 0 and CLS_WEIGHT 0 distils"):
        make_config(CONSISTENCY_DISTILL=True, CONSISTENCY_DISTILL_BOX_WEIGHT=0.0, CONSISTENCY_DISTILL_CLS_WEIGHT=0.0)


def test_the_progressive_configurations_form_a_chain() -> None:
    """20 -> 4 -> 2 -> 1: each teacher takes the steps that its own training left it with; one budget for all."""
    chain = [load_config(DIGITS / f"progressive_{name}.yaml") for name in ("20to4", "4to2", "2to1")]
    steps = [
        (c.MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP,
         c.MODEL.DiffusionDet.SAMPLER_DISTILL_STUDENT_SAMPLE_STEP)
        for c in chain
    ]  # fmt: skip
    assert steps == [(20, 4), (4, 2), (2, 1)]
    direct, consistency = load_config(DIGITS / "distill_20to1.yaml"), load_config(DIGITS / "consistency.yaml")
    for c in (*chain, consistency):
        assert direct.SOLVER == c.SOLVER and direct.MODEL_EMA == c.MODEL_EMA
    assert consistency.MODEL.DiffusionDet.CONSISTENCY_DISTILL
    assert not consistency.MODEL.DiffusionDet.SAMPLER_DISTILL
