"""GEO_FEAT: its inputs by hand, its zero start, its schedules."""

import math

import pytest
import torch

from c2o_model.graph.geometry import GeoFeat, node_geometry, time_weight


def test_geometry_by_hand() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 30.0, 40.0], [0.0, 0.0, 100.0, 50.0], [5.0, 5.0, 5.0, 4.0]]])
    found = node_geometry(boxes, torch.tensor([[100.0, 50.0, 100.0, 50.0]]))[0]
    assert found[0].tolist() == pytest.approx([0.2, 0.6, math.log(0.2), math.log(0.4)])
    assert found[1].tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert found[2, 2:].tolist() == pytest.approx([math.log(1e-4)] * 2)  # no area: finite


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [1, 1, 1, 1]), ("linear", [1, 0.75, 0.5, 0.25]), ("threshold", [1, 1, 1, 0])],
)
def test_time_weight_by_hand(schedule: str, expected: list[float]) -> None:
    assert time_weight(schedule, torch.tensor([0, 25, 50, 75]), 100, 0.5).tolist() == expected


def test_unknown_schedule_is_refused_when_built() -> None:
    with pytest.raises(ValueError, match="GEO_FEAT_SCHEDULE: 'cosine' is unknown; choose one of constant, linear"):
        GeoFeat(8, 16, 1000, schedule="cosine")


def test_a_new_module_adds_exactly_nothing_but_learns() -> None:
    torch.manual_seed(0)
    feat = GeoFeat(8, 16, 1000)
    boxes, whwh, t = (
        torch.rand(2, 5, 4).sort(dim=-1).values * 60,
        torch.full((2, 4), 64.0),
        torch.tensor([3, 900]),
    )
    out = feat(boxes, whwh, t)
    assert out.shape == (2, 5, 8) and torch.equal(out, torch.zeros_like(out))
    out.sum().backward()
    assert feat.mlp[2].weight.grad.abs().sum() > 0
    torch.nn.init.xavier_uniform_(feat.mlp[2].weight)
    assert feat(boxes, whwh, t).abs().sum() > 0
    feat.zero_output()
    assert torch.equal(feat(boxes, whwh, t), torch.zeros_like(out))


def test_gate_and_schedule_scale_the_mlp() -> None:
    torch.manual_seed(0)
    feat = GeoFeat(8, 16, 1000, gate_init=-1.0, schedule="linear")
    torch.nn.init.normal_(feat.mlp[2].weight)
    boxes, whwh, t = (
        torch.rand(2, 5, 4).sort(dim=-1).values * 60,
        torch.full((2, 4), 64.0),
        torch.tensor([0, 750]),
    )
    for m in range(2):
        level = torch.full((5, 1), float(t[m]) / 1000)
        raw = feat.mlp(torch.cat([node_geometry(boxes, whwh)[m], level], dim=1))
        factor = (1 - float(t[m]) / 1000) / (1 + math.exp(1.0))
        torch.testing.assert_close(feat(boxes, whwh, t)[m], raw * factor)
