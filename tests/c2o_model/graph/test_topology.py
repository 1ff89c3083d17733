"""The topology loss against full attention matrices and loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from c2o_model.graph.bias import EdgeBias, GeoBias
from c2o_model.graph.topology import topology_loss

B, H, N, D, G = 4, 3, 12, 8, 4
WHWH = torch.full((B, 4), 100.0)


def case(kind: str = "none", topk: int = 0) -> dict[str, Tensor | EdgeBias | None]:
    g = torch.Generator().manual_seed(5)
    q, k = torch.randn(2, B, H, N, D, generator=g)
    low = torch.rand(B, N + G, 2, generator=g) * 60
    boxes = torch.cat([low, low + torch.rand(B, N + G, 2, generator=g) * 40 + 4], dim=-1)
    gt_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    gt_index = torch.full((B, N), -1)
    gt_index[0, [1, 4, 5, 9, 11]] = torch.tensor([0, 3, 1, 0, 2])
    gt_index[1, [0, 2, 3]] = torch.tensor([2, 1, 0])
    gt_index[2, [6, 7]] = 0
    bias = None
    if kind != "none" or topk:
        torch.manual_seed(6)
        module = GeoBias(kind, H, 1000, topk=topk)
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
        bias = module(boxes[:, :N], WHWH, torch.tensor([0, 10, 500, 900]))
    return {"q": q, "k": k, "bias": bias, "gt_index": gt_index, "gt_boxes": boxes[:, N:], "gt_mask": gt_mask}


def iou(a: list[float], b: list[float]) -> float:
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def by_full_matrices(values: dict, thresh: float, norm: str) -> Tensor:  # type: ignore[type-arg]
    """The N x N attention of every image, then the sums of the formula."""
    q, k, bias = values["q"].double(), values["k"].double(), values["bias"]
    scores = q @ k.transpose(-1, -2) / math.sqrt(D)
    if bias is not None:
        scores = scores + bias.dense().double()
    attention = scores.softmax(dim=-1).mean(dim=1)  # [B,N,N]
    total = torch.zeros((), dtype=torch.float64)
    for b in range(B):
        if int(values["gt_mask"][b].sum()) < 2:
            continue
        matched = [n for n in range(N) if values["gt_index"][b, n] >= 0]
        boxes = {n: values["gt_boxes"][b, values["gt_index"][b, n]].tolist() for n in matched}
        for i in matched:
            near = [j for j in matched if iou(boxes[i], boxes[j]) > thresh and attention[b, i, j] > 0]
            rest = sum(attention[b, i, j] for j in matched)
            for j in near:
                weight = 1 / len(near) if norm == "row" else 1.0
                total = total - weight * torch.log(attention[b, i, j] / rest) / len(matched)
    return total / B


@pytest.mark.parametrize("norm", ["row", "none"])
@pytest.mark.parametrize("thresh", [0.0, 0.1, 0.6])
@pytest.mark.parametrize(("kind", "topk"), [("none", 0), ("none", 5), ("distance", 0), ("iou", 3), ("mlp", 0)])
def test_equals_the_full_matrices(kind: str, topk: int, thresh: float, norm: str) -> None:
    values = case(kind, topk)
    found = topology_loss(**values, most_per_object=2, iou_thresh=thresh, target_norm=norm)  # type: ignore[arg-type]
    torch.testing.assert_close(found.double(), by_full_matrices(values, thresh, norm), rtol=1e-5, atol=1e-6)
    assert float(found.detach()) > 0


def test_the_gradient_is_that_of_the_full_matrices() -> None:
    grads = []
    for formula in (
        lambda v: topology_loss(**v, most_per_object=2, iou_thresh=0.1),
        lambda v: by_full_matrices(v, 0.1, "row"),
    ):
        values = case("distance", 6)
        leaves = [values[name].requires_grad_() for name in ("q", "k")]  # type: ignore[union-attr]
        formula(values).backward()
        assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in leaves)
        grads.append([leaf.grad for leaf in leaves])
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
        assert (found[2:] == 0).all() and found[:2].abs().sum() > 0  # fewer than two objects: nothing


def test_extreme_scores_neither_overflow_nor_vanish() -> None:
    values = case()
    values["q"] = (values["q"] * 1e3).requires_grad_()  # type: ignore[operator]
    loss = topology_loss(**values, most_per_object=2, iou_thresh=0.1)  # type: ignore[arg-type]
    loss.backward()
    grad = values["q"].grad  # type: ignore[union-attr]
    assert torch.isfinite(loss) and float(loss.detach()) > 100 and grad is not None
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0


def test_the_bound_on_rows_does_not_matter_while_it_holds() -> None:
    values = case("iou", 4)
    few, all_rows = (topology_loss(**values, most_per_object=n, iou_thresh=0.1) for n in (2, 100))  # type: ignore[arg-type]
    torch.testing.assert_close(few, all_rows)


def test_a_batch_without_objects_gives_zero_with_a_gradient() -> None:
    values = case()
    values["gt_index"] = torch.full((B, N), -1)
    values["gt_boxes"], values["gt_mask"] = torch.zeros(B, 0, 4), torch.zeros(B, 0, dtype=torch.bool)
    q = values["q"].requires_grad_()  # type: ignore[union-attr]
    loss = topology_loss(**values, most_per_object=2, iou_thresh=0.1)  # type: ignore[arg-type]
    loss.backward()
    assert float(loss.detach()) == 0 and q.grad is not None and (q.grad == 0).all()


def test_mixed_precision_around_it_changes_nothing() -> None:
    values = case("distance")
    plain = topology_loss(**values, most_per_object=2, iou_thresh=0.1)  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = topology_loss(**values, most_per_object=2, iou_thresh=0.1)  # type: ignore[arg-type]
    assert torch.equal(plain, mixed)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="GRAPH_TOPO_TARGET_NORM: 'column' is unknown; choose one of row, none"):
        topology_loss(**case(), most_per_object=2, iou_thresh=0.1, target_norm="column")  # type: ignore[arg-type]


def test_no_full_matrix_is_made() -> None:
    """At N = 4000 one head's N x N float32 matrix is 64 MB; the rows of 2 objects x 2 nodes are 64 KB."""
    n = 4000
    q, k = torch.randn(2, 1, 1, n, 8)
    index = torch.full((1, n), -1)
    index[0, [5, 3000]] = torch.tensor([0, 1])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 1, 10, 10]]])
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        topology_loss(q, k, None, index, boxes, torch.ones(1, 2, dtype=torch.bool), most_per_object=2, iou_thresh=0.1)
    largest = max(e.nbytes() for e in profile.kineto_results.events() if e.name() == "[memory]")
    assert largest < 4 * n * n / 100
