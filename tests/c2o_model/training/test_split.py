"""A split batch gives the gradient of the whole one, however it is split and whatever is switched on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from c2o_model.checkpoint import read_checkpoint
from c2o_model.config import ConfigError
from c2o_model.data.loader import Batch, SeededBatches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.images import PixelNormaliser
from c2o_model.training import run as module
from c2o_model.training.distill import SamplerDistillation
from c2o_model.training.draws import draw
from c2o_model.training.split import Part, SplitStep, check_split

HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "GEO_FEAT": True}
PRETRAINER = {"MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer", "MODEL.PRETRAIN.SIZE_EDGES": [16.0, 24.0]}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "hybrid": ({}, HYBRID),
    "last stage only": ({}, {"DEEP_SUPERVISION": False, "ROI_ALIGN_IMPL": "torchvision"}),
    "pretrainer": (PRETRAINER, {}),
    "distillation": ({}, {"SAMPLER_DISTILL": True, "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 2,
                          "SAMPLER_DISTILL_TEACHER_ETA": 1.0, "SAMPLER_DISTILL_CLS_WEIGHT": 1.0,
                          "SAMPLER_DISTILL_TOPK": 3}),
}  # fmt: skip


class Sizes:
    """Images cut to sizes of their own, so that the batch's padding matters."""

    def __call__(self, image: Any, boxes: Any, labels: Any, key: Any) -> Any:
        height, width = 33 + key.integer(0, 31), 40 + key.integer(0, 24)
        return image[:, :height, :width], boxes.clamp(max=32.0), labels


def gradients(cfg: Any, split: Any, steps: int, transform: Any = None) -> tuple[dict[str, float], dict[str, Any]]:
    """Losses and gradients of iteration 5, whole (`steps` 0: the plain loop's way) or in micro-batches."""
    torch.manual_seed(8)
    model = build_model(cfg).train()
    with torch.no_grad():  # scores near 0.5, so that every stage matches some nodes and not others
        for name, parameter in model.named_parameters():
            if name.endswith("class_logits.bias"):
                parameter += 4.0
    distillation = None
    if cfg.MODEL.DiffusionDet.SAMPLER_DISTILL:
        torch.manual_seed(9)
        teacher = build_model(cfg)
        assert isinstance(teacher, DiffusionDet) and isinstance(model, DiffusionDet)
        distillation = SamplerDistillation(teacher, model)
    batches = SeededBatches(split, cfg.SOLVER.IMS_PER_BATCH, 3, transform)

    def forward(batch: Batch, part: Part) -> dict[str, torch.Tensor]:
        return module._step(cfg, model, batch, 3, 5, distillation, part=part)

    if steps:
        losses = SplitStep(forward, model, batches, 3, steps).gradients(5)
    else:
        losses = forward(batches.batch(5), Part())
        torch.stack(list(losses.values())).sum().backward()
    return (
        {name: float(value.detach()) for name, value in losses.items()},
        {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
    )


def far(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The greatest difference of two gradients over the greatest entry of the first."""
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a) / max(float(v.abs().max()) for v in a.values())


@pytest.mark.parametrize("mixed", [False, True], ids=["one size", "many sizes"])
@pytest.mark.parametrize("case", CASES)
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    make_config: Any, tiny_split: Any, case: str, mixed: bool
) -> None:
    values, keys = CASES[case]
    cfg = make_config(values, **keys)
    transform = Sizes() if mixed else None
    losses, whole = gradients(cfg, tiny_split, 0, transform)
    for steps in (1, 2, 4):
        own, parts = gradients(cfg, tiny_split, steps, transform)
        assert own == pytest.approx(losses, rel=1e-5, abs=1e-7)
        assert far(whole, parts) < 1e-5, steps


def test_averaging_the_parts_would_not_do(make_config: Any, tiny_split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shared counts are for: with its own counts each part weighs alike, whatever it holds."""
    from c2o_model.modeling import losses

    cfg = make_config()
    _, whole = gradients(cfg, tiny_split, 0)
    monkeypatch.setattr(losses, "over_batch", lambda count: count * 4)
    _, parts = gradients(cfg, tiny_split, 4)
    assert far(whole, parts) > 0.01


def test_parts_see_the_draws_and_slots_of_the_whole_batch() -> None:
    whole = draw(3, 7, 6, 5, 4, 100)
    parts = [Part(i, 3).draws(3, 7, 2, 5, 4, 100) for i in range(3)]
    for name in ("t", "noise", "fill", "order", "label", "start"):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name)), name
    assert [list(Part(i, 3).slots(2)) for i in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert [Part(i, 3).keys(9, 7, 2) for i in range(3)] == [[(9, 42, 0), (9, 43, 0)], [(9, 44, 0), (9, 45, 0)],
                                                            [(9, 46, 0), (9, 47, 0)]]  # fmt: skip


def test_the_canvas_pads_as_a_larger_batch_would() -> None:
    normalise = PixelNormaliser([100.0] * 3, [50.0] * 3, 8)
    small, large = torch.full((3, 10, 12), 150, dtype=torch.uint8), torch.zeros(3, 17, 9, dtype=torch.uint8)
    both = normalise([small, large])
    assert both.shape == (2, 3, 24, 16)
    assert torch.equal(normalise([small], (17, 12)), both[:1])
    assert torch.equal(normalise(small[None], (17, 12)), both[:1])
    assert normalise(small[None]).shape == (1, 3, 16, 16)


def test_what_would_not_add_up_is_refused(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^SOLVER.ACCUMULATE_STEPS: 3 does not divide SOLVER.IMS_PER_BATCH 4"):
        make_config({"SOLVER.ACCUMULATE_STEPS": 3})
    model = build_model(make_config({"MODEL.RESNETS.NORM": "BN"})).train()
    with pytest.raises(ConfigError, match=r"^MODEL.RESNETS.NORM, .*: backbone\.\S+ normalises over its part"):
        check_split(model, 4, 2, 0)
    check_split(model, 4, 1, 0)
    frozen = build_model(make_config({"MODEL.RESNETS.NORM": "BN", "SOLVER.BACKBONE_MULTIPLIER": 0.0})).train()
    check_split(frozen, 4, 2, 0)
    check_split(frozen, 4, 2, 4)
    with pytest.raises(ConfigError, match=re.escape("SAMPLER_DISTILL_IMAGES: 3 of 4 images cannot be shared by 1")):
        check_split(frozen, 4, 2, 3)
    with pytest.raises(ConfigError, match=r"^SOLVER.IMS_PER_BATCH: 5 cannot be split evenly over 1 process\(es\) of 2"):
        check_split(frozen, 5, 2, 0)


@pytest.mark.parametrize("name", ["accumulation", "bfloat16", "both, ema, dropout"])
def test_training_falls_and_resumes_with_the_same_bits(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    accumulate, amp = {"SOLVER.ACCUMULATE_STEPS": 2}, {"SOLVER.AMP.ENABLED": True}
    ema = {"MODEL_EMA.ENABLED": True, "MODEL_EMA.DECAY": 0.9, "MODEL_EMA.RAMP": 10}
    values, keys = {
        "accumulation": (accumulate, {}),
        "bfloat16": (amp, {}),
        "both, ema, dropout": ({**accumulate, **amp, **ema}, {**HYBRID, "DROPOUT": 0.1}),
    }[name]
    values = {**values, "SOLVER.MAX_ITER": 40, "SOLVER.BASE_LR": 0.004}
    monkeypatch.setattr(module, "CURVE_PERIOD", 5)
    whole = run_training(tmp_path / "whole", values, **keys)
    assert whole[3]["iteration"] == 20 and whole[3]["loss"] < 0.97 * whole[0]["loss"]

    class Stopped(Exception):
        pass

    def stop(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise Stopped

    save = module.save_state
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(module, "save_state", stop)
        run_training(tmp_path / "cut", values, **keys)
    torch.rand(5)
    assert run_training(tmp_path / "cut", values, **keys) == whole
    a, b = (tmp_path / d / "m.safetensors" for d in ("whole", "cut"))
    assert a.read_bytes() == b.read_bytes()
    assert all(v.dtype in (torch.float32, torch.int64) for v in read_checkpoint(a)[0].values())
