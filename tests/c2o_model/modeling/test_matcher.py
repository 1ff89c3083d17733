"""The vectorised matcher against per-object loops (benchmarks.straightforward), ties and odd shapes too."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import straightforward
from c2o_model.modeling import matcher
from c2o_model.modeling.matcher import assign, match


def random_costs(g: torch.Generator, images: int, nodes: int, objects: int, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """Costs and IoUs on a coarse grid, so that ties abound, and a ragged mask."""
    cost = torch.randint(-grid, grid + 1, (images, nodes, objects), generator=g).float() / 4
    cost = cost + torch.randint(2, (images, nodes, 1), generator=g) * 1e4
    iou = torch.randint(0, 9, (images, nodes, objects), generator=g).float() / 8
    mask = torch.rand(images, objects, generator=g) < 0.7
    return cost, iou, mask


def assign_by_loops(cost: Tensor, iou: Tensor, mask: Tensor, ota_k: int) -> Tensor:
    rows = []
    for c, i, m in zip(cost, iou, mask, strict=True):
        ids = m.nonzero()[:, 0]
        if len(ids) == 0:
            rows.append(torch.full((len(c),), -1))
            continue
        found = straightforward.assign(c[:, ids], i[:, ids], ota_k)
        rows.append(torch.where(found >= 0, ids[found.clamp(min=0)], -1))
    return torch.stack(rows)


@pytest.mark.parametrize("seed", range(200))
def test_assignment_equals_the_loops_on_thousands_of_images(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    nodes, objects = (int(torch.randint(1, high, (), generator=g)) for high in (14, 10))
    grid = (2, 8, 1000)[seed % 3]
    cost, iou, mask = random_costs(g, 16, nodes, objects, grid)
    for ota_k in (1, 5):
        found = assign(cost, iou, mask, ota_k)
        assert torch.equal(found, assign_by_loops(cost, iou, mask, ota_k))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6))
def test_what_every_assignment_keeps(nodes: int, objects: int, ota_k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    cost, iou, mask = random_costs(g, 4, nodes, objects, 50)
    found = assign(cost, iou, mask, ota_k)
    assert found.shape == (4, nodes) and found.dtype == torch.int64
    for row, m in zip(found, mask, strict=True):
        used = set(row[row >= 0].tolist())
        real = set(m.nonzero()[:, 0].tolist())
        assert used <= real  # never a padded object
        assert used == real or (row >= 0).all()  # an object goes without only when no node is free


def test_by_hand() -> None:
    # Node 0 is claimed by both; object 1 is cheaper for it. Object 0 then takes its cheapest free node, 2.
    cost = torch.tensor([[[1.0, 0.5], [9.0, 3.0], [4.0, 2.0]]])
    iou = torch.tensor([[[0.9, 0.8], [0.0, 0.0], [0.1, 0.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert assign(cost, iou, mask, 5).tolist() == [[1, -1, 0]]
    # Two equal claims go to the first object.
    assert assign(torch.tensor([[[1.0, 1.0], [9.0, 3.0]]]), torch.zeros(1, 2, 2), mask, 5).tolist() == [[0, 1]]
    # k = floor(0.9 + 0.8 + 0.7) = 2 nodes, of equal cost the first ones.
    iou = torch.tensor([[[0.9], [0.8], [0.7]]])
    assert assign(torch.ones(1, 3, 1), iou, mask[:, :1], 5).tolist() == [[0, 0, -1]]


def test_the_left_try_again_in_rounds() -> None:
    # All three objects want node 0. Object 0 wins it; 1 and 2 both want node 1 next, 2 is cheaper; 1 gets
    # node 2.
    cost = torch.tensor([[[0.0, 1.0, 2.0], [5.0, 4.0, 3.0], [9.0, 8.0, 7.0], [50.0, 60.0, 70.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert assign(cost, torch.zeros_like(cost), mask, 5).tolist() == [[0, 2, 1, -1]]


def test_more_objects_than_nodes_leaves_the_dearer_unmatched() -> None:
    cost = torch.tensor([[[3.0, 1.0, 2.0, 5.0], [3.0, 4.0, 2.5, 1.0]]])
    found = assign(cost, torch.zeros_like(cost), torch.ones(1, 4, dtype=torch.bool), 5)
    assert found.tolist() == [[1, 3]]


def test_a_contested_node_goes_to_the_cheapest_of_all_objects() -> None:
    """Objects 0 and 1 claim node 0; object 2, which claims only node 1, is cheaper there (SimOTA's rule)."""
    cost = torch.tensor([[[2.0, 3.0, 1.0], [9.0, 9.0, 0.0], [4.0, 5.0, 9.0], [4.5, 4.5, 9.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert assign(cost, torch.zeros_like(cost), mask, 5).tolist() == [[2, 2, 0, 1]]


def scene(g: torch.Generator, images: int, nodes: int, objects: int, classes: int) -> dict[str, Tensor]:
    """Random predictions and objects, half the nodes near an object; objects beyond the mask hold rubbish."""
    size = torch.randint(60, 200, (images, 2), generator=g).float()
    whwh = size.repeat(1, 2)
    low = torch.rand(images, objects, 2, generator=g) * 0.7
    gt = torch.cat([low, low + 0.05 + torch.rand(images, objects, 2, generator=g) * 0.25], dim=-1) * whwh[:, None]
    mask = torch.rand(images, objects, generator=g) < 0.8
    labels = torch.randint(classes, (images, objects), generator=g).masked_fill(~mask, classes)
    corner = torch.rand(images, nodes, 2, generator=g) * 0.8
    boxes = torch.cat([corner, corner + torch.rand(images, nodes, 2, generator=g) * 0.3], dim=-1) * whwh[:, None]
    if objects:
        pick = torch.randint(objects, (images, nodes), generator=g)
        near = gt.gather(1, pick[..., None].expand(-1, -1, 4)) + torch.randn(images, nodes, 4, generator=g)
        near = torch.cat([near[..., :2], torch.maximum(near[..., 2:], near[..., :2] + 1)], dim=-1)
        boxes = torch.where(torch.rand(images, nodes, 1, generator=g) < 0.5, near, boxes)
    logits = torch.randn(images, nodes, classes, generator=g) * 3
    return {
        "logits": logits, "boxes": boxes, "gt_labels": labels, "gt_boxes": gt, "gt_mask": mask,
        "image_whwh": whwh,
    }  # fmt: skip


SHAPES = [
    (32, 8, 10),
    (32, 8, 1),
    (20, 5, 3),
    (20, 5, 4),
    (9, 3, 63),
    (9, 3, 64),
    (3, 8, 10),
    (1, 1, 2),
    (5, 0, 10),
]


@pytest.mark.parametrize(("nodes", "objects", "classes"), SHAPES)
@pytest.mark.parametrize("seed", range(12))
def test_match_equals_the_per_image_reference(nodes: int, objects: int, classes: int, seed: int) -> None:
    """End to end, with labels beyond K where there is no object."""
    g = torch.Generator().manual_seed(seed)
    s = scene(g, 16, nodes, objects, classes)
    labels = [row[m] for row, m in zip(s["gt_labels"], s["gt_mask"], strict=True)]
    gt_boxes = [row[m] for row, m in zip(s["gt_boxes"], s["gt_mask"], strict=True)]
    found = match(**s)
    expected = straightforward.match(s["logits"], s["boxes"], labels, gt_boxes, s["image_whwh"])
    for b in range(16):
        ids = s["gt_mask"][b].nonzero()[:, 0]
        index = expected[b]
        if len(ids):
            cost, iou = straightforward.cost_matrix(
                s["logits"][b], s["boxes"][b], labels[b], gt_boxes[b], s["image_whwh"][b]
            )
            index = torch.where(index >= 0, ids[index.clamp(min=0)], -1)
            paired = torch.zeros(nodes)
            on = index >= 0
            paired[on] = iou[on, expected[b][on]]
            torch.testing.assert_close(found.iou[b], paired, rtol=1e-5, atol=1e-6)
        assert torch.equal(found.gt_index[b], index), b


def test_costs_equal_the_reference() -> None:
    g = torch.Generator().manual_seed(3)
    s = scene(g, 30, 24, 6, 7)
    s["gt_mask"][:] = True
    s["gt_labels"] = s["gt_labels"].clamp(max=6)
    whwh = s["image_whwh"][:, None]
    iou, giou = matcher.pairwise_iou(s["boxes"], s["gt_boxes"])
    cost = 2 * matcher.class_cost(s["logits"], s["gt_labels"], 0.25, 2.0) - 2 * giou
    cost = cost + 5 * matcher.l1_cost(s["boxes"] / whwh, s["gt_boxes"] / whwh)
    inside, near = matcher.centre_prior(s["boxes"], s["gt_boxes"], s["gt_mask"], 2.5)
    cost = cost + 100 * (~inside).float() + 1e4 * (~near).float()[..., None]
    for b in range(30):
        expected = straightforward.cost_matrix(
            *(s[k][b] for k in ("logits", "boxes", "gt_labels", "gt_boxes")), whwh[b]
        )
        torch.testing.assert_close(cost[b], expected[0], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(iou[b], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 3, 10, 64])
def test_an_image_alone_matches_as_in_the_batch_bit_for_bit(classes: int) -> None:
    g = torch.Generator().manual_seed(classes)
    for nodes, objects in ((32, 8), (7, 3), (33, 5)):
        s = scene(g, 12, nodes, objects, classes)
        together = match(**s)
        for b in range(12):
            alone = match(**{name: v[b : b + 1] for name, v in s.items()})
            assert torch.equal(alone.gt_index[0], together.gt_index[b])
            assert torch.equal(alone.iou[0], together.iou[b])
            # and without the padding of other images
            real = s["gt_mask"][b]
            cut = {"gt_labels": s["gt_labels"], "gt_boxes": s["gt_boxes"], "gt_mask": s["gt_mask"]}
            tight = match(
                **{**{n: v[b : b + 1] for n, v in s.items()}, **{n: v[b, real][None] for n, v in cut.items()}}
            )
            ids = real.nonzero()[:, 0]
            back = tight.gt_index[0]
            if len(ids):
                back = torch.where(back >= 0, ids[back.clamp(min=0)], -1)
            assert torch.equal(back, together.gt_index[b])
            assert torch.equal(tight.iou[0], together.iou[b])


def test_images_without_objects() -> None:
    g = torch.Generator().manual_seed(0)
    s = scene(g, 3, 6, 4, 5)
    s["gt_mask"][1] = False
    found = match(**s)
    assert (found.gt_index[1] == -1).all() and (found.iou[1] == 0).all()
    assert found.matched[0].any() and found.matched[2].any()
    s |= {
        "gt_labels": s["gt_labels"][:, :0],
        "gt_boxes": s["gt_boxes"][:, :0],
        "gt_mask": s["gt_mask"][:, :0],
    }
    found = match(**s)
    assert (found.gt_index == -1).all() and found.gt_index.shape == (3, 6) and found.iou.sum() == 0


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_boxes_without_area_and_extreme_logits_stay_finite(logit: float) -> None:
    boxes = torch.tensor([[[5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 9.0, 9.0]]])
    mask, whwh = torch.ones(1, 2, dtype=torch.bool), torch.full((1, 4), 10.0)
    found = match(torch.full((1, 2, 1), logit), boxes, torch.zeros(1, 2).long(), boxes.clone(), mask, whwh)
    assert found.gt_index.tolist() == [[0, 1]] and found.iou.tolist() == [[0.0, 1.0]]


def test_centre_prior_by_hand() -> None:
    gt = torch.tensor([[[40.0, 40.0, 50.0, 60.0]]])  # centre (45, 50); the region reaches 25 and 50 from it
    centres = [
        (45, 50),
        (40, 50),
        (69.5, 50),
        (70, 50),
        (45, 99),
        (45, 100),
    ]  # a border does not count as inside
    boxes = torch.tensor([[[x - 1, y - 1, x + 1, y + 1] for x, y in centres]])
    inside, near = matcher.centre_prior(boxes, gt, torch.ones(1, 1, dtype=torch.bool), 2.5)
    assert inside[0, :, 0].tolist() == [True, False, False, False, False, False]
    assert near[0].tolist() == [True, True, True, False, True, False]
    assert not matcher.centre_prior(boxes, gt, torch.zeros(1, 1, dtype=torch.bool), 2.5)[1].any()


def test_no_gradient_is_recorded() -> None:
    s = scene(torch.Generator().manual_seed(0), 2, 5, 3, 4)
    s["logits"].requires_grad_()
    s["boxes"].requires_grad_()
    assert not match(**s).iou.requires_grad
