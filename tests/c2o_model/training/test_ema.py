"""The weight average in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from c2o_model.training.ema import WeightAverage


@pytest.mark.parametrize(("decay", "ramp"), [(0.9, 0), (0.9, 4), (0.0, 0), (1.0, 0), (0.5, 1)])
def test_the_average_is_a_weighted_sum_of_all_weights(decay: float, ramp: int) -> None:
    """w_n = sum over i of x_i (1 - d_i) prod over j > i of d_j, with d_i = min(d, (1+i)/(r+i)), x_0 the start."""
    model = nn.Linear(1, 1, bias=False)
    values = [2.0, -1.0, 5.0, 0.5, 3.0]
    nn.init.constant_(model.weight, values[0])
    average = WeightAverage(model, decay, ramp)
    for i, value in enumerate(values[1:]):
        nn.init.constant_(model.weight, value)
        average.update(model, i)
    rates = [min(decay, (1 + i) / (ramp + i)) if ramp else decay for i in range(4)]
    expected = values[0]
    for i, x in enumerate(values[1:]):
        expected = expected * rates[i] + x * (1 - rates[i])
    assert average.state["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert [average.rate(i) for i in range(4)] == rates


def test_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.75, 0)
    model.running_mean += 4
    model.num_batches_tracked += 9
    average.update(model, 0)
    assert average.state["running_mean"].tolist() == [1.0, 1.0] and average.state["num_batches_tracked"] == 9


def test_it_is_apart_from_the_model_and_can_be_loaded() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9, 0)
    before = model.weight.detach().clone()
    nn.init.zeros_(model.weight)
    assert torch.equal(average.state["weight"], before)
    other = WeightAverage(nn.Linear(2, 2), 0.9, 0)
    other.load(average.state)
    assert torch.equal(other.state["weight"], before)
    average.update(model, 0)
    assert torch.equal(other.state["weight"], before) and not any(v.requires_grad for v in average.state.values())
