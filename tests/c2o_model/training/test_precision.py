"""SOLVER.AMP: products in bfloat16; pyramid, boxes, pooling and losses in float32; nothing where it is off."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw
from c2o_model.training.precision import precision

CPU = torch.device("cpu")


def dtypes(model: nn.Module, batch: TrainingBatch, enabled: bool) -> tuple[dict[str, torch.dtype], dict[str, Any]]:
    """What every module without children answers in, and the losses."""
    seen: dict[str, torch.dtype] = {}
    hooks = [
        m.register_forward_hook(lambda _, __, out, n=name: seen.update({n: out.dtype}))
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear | nn.Conv2d) or name == "head.pooler"
    ]
    with precision(enabled, CPU):
        losses = model.losses(batch, draw(3, 0, 4, 8, batch.mask.shape[1], 1000))  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    return seen, losses


@pytest.mark.parametrize("impl", ["separable", "torchvision"])
def test_products_are_bfloat16_and_losses_float32(make_detector: Any, tiny_batch: TrainingBatch, impl: str) -> None:
    model = make_detector(QUALITY_HEAD=True, GEO_FEAT=True, ROI_ALIGN_IMPL=impl).train()
    seen, losses = dtypes(model, tiny_batch, True)
    assert seen.pop("head.pooler") == torch.float32
    linear = {n for n in seen if n.startswith("head.")}
    assert any("inst_interact" in n for n in linear) and any(n.startswith("backbone.") for n in seen)
    assert {seen[n] for n in seen} == {torch.bfloat16}
    assert {v.dtype for v in losses.values()} == {torch.float32}
    with precision(True, CPU):
        features = model.features(tiny_batch.images)
        out = model.head(features, tiny_batch.boxes, torch.full((4,), 10), tiny_batch.whwh)
    assert {f.dtype for f in features} == {torch.float32} == {out.boxes.dtype}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, name
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.dtype == torch.float32, name


def test_losses_differ_by_the_rounding_of_bfloat16(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """8 bits of mantissa: a few per mille an operation, here below 3 per cent of the sum."""
    model = make_detector().train()
    full = sum(float(v) for v in dtypes(model, tiny_batch, False)[1].values())
    half = sum(float(v) for v in dtypes(model, tiny_batch, True)[1].values())
    assert full != half and half == pytest.approx(full, rel=0.03)


def test_off_is_nothing(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    assert isinstance(precision(False, CPU), nullcontext)
    seen, _ = dtypes(make_detector(), tiny_batch, False)
    assert set(seen.values()) == {torch.float32}


def test_a_pass_without_gradient_does_not_cut_those_after_it() -> None:
    """As a sampler inside a step does: torch's cache of rounded weights would."""
    layer = nn.Linear(3, 2)
    with precision(True, CPU):
        with torch.no_grad():
            layer(torch.ones(1, 3))
        layer(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad is not None and torch.equal(layer.weight.grad, torch.ones(2, 3))
