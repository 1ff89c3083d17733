"""The focal prior goes to the class biases of a whole detector, every module on, and to nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

WIDE = {"MODEL.FPN.OUT_CHANNELS": 64}
EVERY = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "GEO_FEAT": True}
SIZES = {"HIDDEN_DIM": 64, "DIM_FEEDFORWARD": 64, "QUALITY_HIDDEN": 64, "GEO_FEAT_HIDDEN": 64, "PRIOR_PROB": 0.03}
PRIOR = -math.log(0.97 / 0.03)


@pytest.mark.parametrize("classes", [1, 3, 4, 63, 64, 255, 256])
@pytest.mark.parametrize("modules", [{}, EVERY], ids=["plain", "every module"])
def test_only_class_biases_hold_the_prior(make_config: Any, classes: int, modules: dict[str, Any]) -> None:
    """64 and 256 are widths of layers, 4 the sides of a box: a rule by shape, for K or K + 1, would hit those too."""
    torch.manual_seed(0)
    model = build_model(make_config(WIDE, NUM_CLASSES=classes, **SIZES, **modules))
    prior = torch.tensor(PRIOR)
    sizes = set()
    for name, parameter in model.named_parameters():
        sizes |= set(parameter.shape)
        if name.endswith("class_logits.bias"):
            torch.testing.assert_close(parameter.detach(), prior.expand(classes), rtol=1e-6, atol=0)
        else:
            assert not torch.isclose(parameter.detach(), prior, rtol=1e-6, atol=0).any(), name
    assert sizes >= {4, 64, 256, classes}
    stages = [name for name, _ in model.named_parameters() if name.endswith("class_logits.bias")]
    assert len(stages) == 2


@pytest.mark.parametrize("classes", [3, 4, 63, 64, 255, 256])
def test_the_number_of_classes_moves_only_what_has_classes(make_config: Any, classes: int) -> None:
    """Biases and norms, which draw nothing, start alike for every number of classes."""
    states = []
    for count in (classes, 10):
        torch.manual_seed(0)
        states.append(build_model(make_config(WIDE, NUM_CLASSES=count, **SIZES, **EVERY)).head.state_dict())
    for name, value in states[0].items():
        if ".norm" in name or "_module." in name and value.dim() == 1:
            assert torch.equal(value, states[1][name]), name
