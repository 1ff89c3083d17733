"""Groups, clip and step of the optimiser, against a step of AdamW by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from c2o_model.training.optimizer import build_optimizer, clip_gradients

ALL = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "GEO_FEAT": True}


def rates(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter by name; every parameter at most once."""
    names = {id(p): n for n, p in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    return found


def test_modules_have_their_own_rates(make_config: Any, make_detector: Any) -> None:
    values = {"SOLVER.BACKBONE_MULTIPLIER": 0.1, "SOLVER.WEIGHT_DECAY": 0.02, "SOLVER.WEIGHT_DECAY_NORM": 0.003,
              "SOLVER.BASE_LR": 0.5, "SOLVER.WEIGHT_DECAY_BIAS": 0.004}  # fmt: skip
    keys = {**ALL, "GEO_FEAT_LR_MULT": 3.0, "QUALITY_LR_MULT": 5.0, "LABEL_STATE_LR_MULT": 0.0}
    model = make_detector(values, **keys)
    found = rates(model, build_optimizer(make_config(values, **keys), model))
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    factors = {"backbone.": 0.1, "head.geo_feat.": 3.0, "head.quality_head.": 5.0, "head.label_embedding.": 0.0}
    norms = (".norm1.", ".norm2.", ".norm3.", "_module.1.")
    for name, (rate, decay) in found.items():
        factor = next((f for prefix, f in factors.items() if name.startswith(prefix)), 1.0)
        assert rate == pytest.approx(0.5 * factor), name
        if any(part in name for part in norms):
            assert decay == 0.003, name
        else:
            assert decay == (0.004 if name.endswith(".bias") else 0.02), name


def test_a_frozen_backbone_is_in_no_group(make_config: Any, make_detector: Any) -> None:
    values = {"SOLVER.BACKBONE_MULTIPLIER": 0.0}
    model = make_detector(values)
    found = rates(model, build_optimizer(make_config(values), model))
    assert found and all(name.startswith("head.") for name in found)


def test_one_step_is_adamw(make_config: Any) -> None:
    """Decoupled decay, then the first Adam step, which is lr * sign(gradient) (arXiv 1711.05101, algorithm 2)."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.5)
    cfg = make_config({"SOLVER.BASE_LR": 0.1, "SOLVER.WEIGHT_DECAY": 0.2})
    optimizer = build_optimizer(cfg, model)
    model.weight.grad = torch.tensor([[3.0, -0.01]])
    optimizer.step()
    for found, grad in zip(model.weight.flatten().tolist(), (3.0, -0.01), strict=True):
        assert found == pytest.approx(0.5 * (1 - 0.1 * 0.2) - 0.1 * grad / (abs(grad) + 1e-8), rel=1e-5)


def test_all_gradients_are_clipped_together(make_config: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.LayerNorm(1))
    cfg = make_config()
    optimizer = build_optimizer(cfg, model)
    values = [3.0, -4.0, 12.0]
    for parameter, value in zip(model.parameters(), values, strict=False):
        parameter.grad = torch.full_like(parameter, value)
    assert clip_gradients(cfg, optimizer) == pytest.approx(13.0)
    after = [float(p.grad.sum()) for p in model.parameters() if p.grad is not None]
    assert after == pytest.approx([v / 13 for v in values], rel=1e-4)
    assert clip_gradients(cfg, optimizer) == pytest.approx(1.0, rel=1e-4)  # what is small enough stays
    off = make_config({"SOLVER.CLIP_GRADIENTS.ENABLED": False})
    for parameter in list(model.parameters())[:3]:
        parameter.grad = torch.full_like(parameter, 5.0)
    assert clip_gradients(off, optimizer) == pytest.approx(math.sqrt(75))
    assert float(next(model.parameters()).grad.sum()) == 5.0
