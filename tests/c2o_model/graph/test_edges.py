"""Pair geometry, biases and the nearest-neighbour graph against scalar loops and sorting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from c2o_model.graph.bias import SCALE_INIT, EdgeBias, GeoBias
from c2o_model.graph.edges import knn_mask, relative_geometry
from c2o_model.graph.relations import RELATION_WIDTH, pooled_relations

WIDTH, HEIGHT = 120.0, 80.0
WHWH = torch.tensor([[WIDTH, HEIGHT, WIDTH, HEIGHT]] * 2)


def random_boxes(m: int = 2, n: int = 7, seed: int = 0) -> Tensor:
    """Boxes that touch, overlap and lie apart; the last of each set has no width."""
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(m, n, 2, generator=g) * 60
    boxes = torch.cat([low, low + torch.rand(m, n, 2, generator=g) * 50 + 1], dim=-1)
    boxes[:, -1, 2] = boxes[:, -1, 0]
    return boxes


def box_numbers(box: Tensor) -> tuple[float, float, float, float]:
    """cx, cy, w, h with the sides' floor, in Python floats."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, 1e-4 * WIDTH), max(y1 - y0, 1e-4 * HEIGHT)


def scalar_iou(a: Tensor, b: Tensor) -> float:
    ax0, ay0, ax1, ay1, bx0, by0, bx1, by1 = (float(v) for v in (*a, *b))
    inter = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inter
    return inter / union if union > 0 else 0.0


def scalar_distance(a: Tensor, b: Tensor, sigma: float) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = box_numbers(a), box_numbers(b)
    si, sj = math.sqrt(aw * ah), math.sqrt(bw * bh)
    return max(-50.0, -((ax - bx) ** 2 + (ay - by) ** 2) / (2 * sigma**2 * si * sj))


def scalar_relation(a: Tensor, b: Tensor) -> list[float]:
    (ax, ay, aw, ah), (bx, by, bw, bh) = box_numbers(a), box_numbers(b)
    return [abs(bx - ax) / aw, abs(by - ay) / ah, math.log(bw / aw), math.log(bh / ah), scalar_iou(a, b)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "threshold"])
@pytest.mark.parametrize("kind", ["distance", "iou", "mlp"])
def test_bias_by_scalar_loops(kind: str, schedule: str) -> None:
    torch.manual_seed(0)
    boxes, t, heads = random_boxes(), torch.tensor([250, 750]), 3
    module = GeoBias(kind, heads, 1000, sigma=1.7, hidden=6, schedule=schedule, threshold=0.5)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    found = module(boxes, WHWH, t).dense()
    assert found is not None and found.shape == (2, heads, 7, 7)
    weight = {"constant": (1, 1), "linear": (0.75, 0.25), "threshold": (1, 0)}[schedule]
    assert module.scale is not None
    for m in range(2):
        for i in range(7):
            for j in range(7):
                a, b = boxes[m, i], boxes[m, j]
                if kind == "distance":
                    raw = [scalar_distance(a, b, 1.7)] * heads
                elif kind == "iou":
                    raw = [0.0 if i == j else scalar_iou(a, b)] * heads
                else:
                    assert module.net is not None
                    r = scalar_relation(a, b)
                    x = [math.log(1 + r[0]), math.log(1 + r[1]), *r[2:]]
                    w, c = module.net.hidden.weight.tolist(), module.net.hidden.bias.tolist()
                    z = [sum(p * v for p, v in zip(row, x, strict=True)) + q for row, q in zip(w, c, strict=True)]
                    z = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z]
                    w, c = module.net.out.weight.tolist(), module.net.out.bias.tolist()
                    raw = [
                        math.tanh(sum(p * v for p, v in zip(row, z, strict=True)) + q)
                        for row, q in zip(w, c, strict=True)
                    ]
                for h in range(heads):
                    expected = math.tanh(module.scale[h].item()) * weight[m] * raw[h]
                    assert float(found[m, h, i, j]) == pytest.approx(expected, rel=2e-4, abs=2e-5), (m, h, i, j)


def test_relative_geometry_by_scalar_loops() -> None:
    boxes = random_boxes(seed=3)
    found = relative_geometry(boxes, boxes, WHWH)
    for m in range(2):
        for i in range(7):
            for j in range(7):
                expected = scalar_relation(boxes[m, i], boxes[m, j])
                assert found[m, i, j].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_shared_scale_is_the_mean_of_the_nodes() -> None:
    boxes = random_boxes(seed=4)
    module = GeoBias("distance", 1, 1000, sigma=0.8, shared=True)
    torch.nn.init.constant_(module.scale, math.atanh(0.5))
    found = module(boxes, WHWH, torch.zeros(2)).dense()
    assert found is not None
    for m in range(2):
        numbers = [box_numbers(b) for b in boxes[m]]
        s = sum(math.sqrt(w * h) for _, _, w, h in numbers) / 7
        for i in range(7):
            for j in range(7):
                d2 = (numbers[i][0] - numbers[j][0]) ** 2 + (numbers[i][1] - numbers[j][1]) ** 2
                assert float(found[m, 0, i, j]) == pytest.approx(-0.5 * d2 / (2 * 0.64 * s * s), rel=1e-4, abs=1e-6)


def neighbours_by_sorting(boxes: Tensor, k: int) -> list[list[set[int]]]:
    result = []
    for one in boxes:
        middle = [((float(b[0]) + float(b[2])) / 2, (float(b[1]) + float(b[3])) / 2) for b in one]
        rows = []
        for i, (x, y) in enumerate(middle):
            others = [((x - u) ** 2 + (y - v) ** 2, j) for j, (u, v) in enumerate(middle) if j != i]
            rows.append({i, *(j for _, j in sorted(others)[:k])})
        result.append(rows)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=1, max_size=9),
    st.integers(1, 10),
)
def test_the_graph_is_that_of_sorting_with_ties_by_index(corners: list[tuple[int, ...]], k: int) -> None:
    """Whole-number boxes on a small grid: equal distances and equal boxes are frequent, and exact."""
    boxes = torch.tensor([[[x, y, x + w, y + h] for x, y, w, h in corners]], dtype=torch.float32)
    found = knn_mask(boxes, k)
    expected = neighbours_by_sorting(boxes, k)
    assert [{j for j in range(len(corners)) if row[j]} for row in found[0]] == expected[0]


def test_cut_edges_are_minus_infinity_whatever_the_bias() -> None:
    boxes = random_boxes(seed=5)
    expected = neighbours_by_sorting(boxes, 3)
    for kind in ("none", "distance", "iou", "mlp"):
        bias = GeoBias(kind, 2, 1000, topk=3)(boxes, WHWH, torch.tensor([0, 9]))
        dense = bias.dense()
        assert dense is not None
        for m in range(2):
            for i in range(7):
                kept = {j for j in range(7) if torch.isfinite(dense[m, :, i, j]).all()}
                assert kept == expected[m][i]
                assert (dense[m, :, i, [j for j in range(7) if j not in kept]] == -math.inf).all()


def test_some_rows_are_rows_of_the_matrix() -> None:
    torch.manual_seed(0)
    boxes, rows = random_boxes(), torch.tensor([[3, 0, 6], [1, 1, 5]])
    for kind in ("none", "distance", "iou", "mlp"):
        module = GeoBias(kind, 2, 1000, topk=2)
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
        bias: EdgeBias = module(boxes, WHWH, torch.tensor([10, 500]))
        some, kept = bias.values(rows), bias.kept(rows)
        whole, all_kept = bias.values(), bias.kept()
        assert kept is not None and all_kept is not None
        for m in range(2):
            assert torch.equal(kept[m], all_kept[m][:, rows[m]])
            if kind == "none":
                assert some is None and whole is None
            else:
                assert some is not None and whole is not None
                torch.testing.assert_close(some[m], whole[m][:, rows[m]])


@pytest.mark.parametrize("kind", ["distance", "iou", "mlp"])
def test_a_new_bias_adds_exactly_nothing_but_learns(kind: str) -> None:
    torch.manual_seed(0)
    module = GeoBias(kind, 2, 1000)
    dense = module(random_boxes(), WHWH, torch.tensor([0, 600])).dense()
    assert dense is not None and (dense == 0).all()
    assert module.scale is not None and (module.scale == SCALE_INIT[kind]).all()
    (dense * torch.randn(dense.shape)).sum().backward()
    grads = {name: float(p.grad.abs().sum()) for name, p in module.named_parameters() if p.grad is not None}
    first = "net.out.weight" if kind == "mlp" else "scale"
    assert grads[first] > 0


def test_far_and_degenerate_boxes_give_finite_numbers_and_gradients() -> None:
    boxes = torch.tensor([[[0.0, 0, 0, 0], [120, 80, 120, 80], [5, 5, 4, 4], [0, 0, 120, 80]]])
    for kind in ("distance", "iou", "mlp"):
        module = GeoBias(kind, 2, 1000)
        dense = module(boxes, WHWH[:1], torch.tensor([0])).dense()
        assert dense is not None
        dense.sum().backward()
        assert torch.isfinite(dense).all()
        for p in module.parameters():
            assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().max() <= 50 * 16


def test_pooled_relations_by_scalar_loops() -> None:
    boxes = random_boxes(seed=8)
    found = pooled_relations(boxes, WHWH)
    nearest = neighbours_by_sorting(boxes, 1)

    def relation(a: Tensor, b: Tensor) -> list[float]:
        (ax, ay, aw, ah), (bx, by, bw, bh) = box_numbers(a), box_numbers(b)
        shift = [(bx - ax) / aw, (by - ay) / ah]
        shift = [math.copysign(math.log(1 + abs(v)), v) for v in shift]
        return [*shift, math.log(bw / aw), math.log(bh / ah), scalar_iou(a, b)]

    for m in range(2):
        for i in range(7):
            others = [relation(boxes[m, i], boxes[m, j]) for j in range(7) if j != i]
            mean = [sum(column) / 6 for column in zip(*others, strict=True)]
            (closest,) = nearest[m][i] - {i}
            expected = mean + relation(boxes[m, i], boxes[m, closest])
            assert found[m, i].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert torch.equal(pooled_relations(boxes[:, :1], WHWH), torch.zeros(2, 1, RELATION_WIDTH))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="GEO_BIAS_TYPE: 'giou' is unknown; choose one of none, distance, iou, mlp"):
        GeoBias("giou", 2, 1000)
