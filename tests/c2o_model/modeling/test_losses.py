"""Losses against torchvision, scalar code and the straightforward implementation, values and gradients."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from benchmarks import matcher_and_losses as bench
from c2o_model.modeling.losses import (
    LossWeights,
    detection_losses,
    distill_losses,
    focal_loss,
    giou_loss,
    matched_counts,
    quality_loss,
)
from c2o_model.modeling.matcher import Match


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_boxes(*shape: int, size: float = 100.0) -> Tensor:
    low = torch.rand(*shape, 2) * size * 0.7
    return torch.cat([low, low + 1 + torch.rand(*shape, 2) * size * 0.3], dim=-1)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 1.5), (0.1, 0.0)])
def test_focal_is_that_of_torchvision(alpha: float, gamma: float) -> None:
    logits = (torch.randn(50, 7) * 5).requires_grad_()
    targets = torch.randint(2, (50, 7)).float()
    found, expected = (
        focal_loss(logits, targets, alpha, gamma),
        sigmoid_focal_loss(logits, targets, alpha, gamma),
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    pair = [torch.autograd.grad(v.sum(), logits)[0] for v in (found, expected)]
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-6)


def test_focal_from_scalars_and_at_extremes() -> None:
    for x, y in ((0.3, 1.0), (-2.0, 0.0), (4.0, 0.0)):
        p = 1 / (1 + math.exp(-x))
        expected = -0.25 * (1 - p) ** 2 * math.log(p) if y else -0.75 * p**2 * math.log(1 - p)
        assert float(focal_loss(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected, rel=1e-5)
    wild = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    loss = focal_loss(wild, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, 0, 7500, 2500])
    assert wild.grad is not None and wild.grad.isfinite().all()


def test_giou_is_that_of_torchvision() -> None:
    a, b = random_boxes(200).requires_grad_(), random_boxes(200)
    found, expected = giou_loss(a, b), generalized_box_iou_loss(a, b)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    pair = [torch.autograd.grad(v.sum(), a)[0] for v in (found, expected)]
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-6)


def test_giou_by_hand() -> None:
    # 2x2 boxes one apart: no overlap, union 8, hull 5x2: GIoU = 0 - 2/10
    assert float(giou_loss(torch.tensor([0.0, 0, 2, 2]), torch.tensor([3.0, 0, 5, 2]))) == pytest.approx(1.2)
    assert float(giou_loss(torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2]))) == pytest.approx(1 - 1 / 3)


@pytest.mark.stack_feature("losses", stack="detectron2")
@pytest.mark.parametrize("case", [*bench.CASES[:2], bench.Case("one class", 2, 3, 9, 1, 4)], ids=lambda c: c.name)
def test_all_losses_and_gradients_equal_the_straightforward_ones(case: bench.Case) -> None:
    batch = bench.make_batch(case, seed=1)
    grads = []
    for losses in (bench.ours(batch), bench.plain(batch)):
        grads.append((losses, torch.autograd.grad(sum(losses.values()), (batch.logits, batch.boxes))))
    (ours, our_grads), (plain, plain_grads) = grads
    assert set(ours) == set(plain)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-5, atol=1e-6)
    for found, expected in zip(our_grads, plain_grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    bench.check(batch)


def test_names_of_deep_supervision() -> None:
    batch = bench.make_batch(bench.Case("tiny", 3, 2, 5, 4, 2), seed=0)
    names = {f"loss_{part}{suffix}" for part in ("ce", "bbox", "giou") for suffix in ("", "_0", "_1")}
    assert set(bench.ours(batch)) == names


def test_each_stage_is_divided_by_its_own_count() -> None:
    logits, boxes = torch.randn(2, 1, 4, 3), random_boxes(2, 1, 4)
    index = torch.tensor([[0, -1, -1, -1], [0, 0, 1, -1]])
    found = Match(index, torch.zeros(2, 4))
    assert matched_counts(found, 2).tolist() == [1, 3]
    args = (found, torch.tensor([[1, 2]]), random_boxes(1, 2), torch.full((1, 4), 100.0), LossWeights())
    own = detection_losses(logits, boxes, *args)
    ones = detection_losses(logits, boxes, *args, counts=torch.ones(2))
    for part in ("ce", "bbox", "giou"):
        torch.testing.assert_close(own[f"loss_{part}_0"], ones[f"loss_{part}_0"])
        torch.testing.assert_close(own[f"loss_{part}"] * 3, ones[f"loss_{part}"])


@pytest.mark.parametrize("objects", [0, 2])
def test_without_any_object_only_the_classes_learn(objects: int) -> None:
    logits = torch.randn(2, 2, 3, 4, requires_grad=True)
    boxes = torch.zeros(2, 2, 3, 4, requires_grad=True)  # no area: no division by zero may reach the gradient
    nothing = Match(torch.full((4, 3), -1), torch.zeros(4, 3))
    labels, gt = torch.zeros(2, objects, dtype=torch.int64), torch.zeros(2, objects, 4)
    losses = detection_losses(logits, boxes, nothing, labels, gt, torch.full((2, 4), 64.0), LossWeights())
    sum(losses.values()).backward()
    assert losses["loss_bbox"].item() == 0 and losses["loss_giou_0"].item() == 0
    expected = 2 * sigmoid_focal_loss(logits[1], torch.zeros(2, 3, 4), reduction="sum")
    torch.testing.assert_close(losses["loss_ce"], expected)
    assert boxes.grad is not None and torch.equal(boxes.grad, torch.zeros_like(boxes))


def test_an_unmatched_node_moves_no_box() -> None:
    logits, boxes = torch.randn(1, 1, 3, 2), random_boxes(1, 1, 3).requires_grad_()
    found = Match(torch.tensor([[-1, 0, -1]]), torch.zeros(1, 3))
    losses = detection_losses(
        logits,
        boxes,
        found,
        torch.tensor([[1]]),
        random_boxes(1, 1),
        torch.full((1, 4), 100.0),
        LossWeights(),
    )
    (losses["loss_bbox"] + losses["loss_giou"]).backward()
    assert boxes.grad is not None
    assert (boxes.grad[0, 0, [0, 2]] == 0).all() and (boxes.grad[0, 0, 1] != 0).any()


@pytest.mark.parametrize("kind", ["bce", "l1", "mse"])
def test_quality_from_scalars(kind: str) -> None:
    q, iou = torch.randn(2, 3, 5, requires_grad=True), torch.rand(2, 3, 5, requires_grad=True)
    matched = torch.rand(2, 3, 5) < 0.4
    terms = []
    for x, y in zip(q[matched].tolist(), iou[matched].tolist(), strict=True):
        s = 1 / (1 + math.exp(-x))
        terms.append({"bce": -y * math.log(s) - (1 - y) * math.log(1 - s), "l1": abs(s - y), "mse": (s - y) ** 2}[kind])
    loss = quality_loss(q, iou, matched, kind)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    loss.backward()
    assert iou.grad is None and q.grad is not None and (q.grad[~matched] == 0).all()


def test_quality_without_matches_and_of_unknown_kind() -> None:
    assert float(quality_loss(torch.randn(4), torch.rand(4), torch.zeros(4, dtype=torch.bool), "bce")) == 0
    with pytest.raises(ValueError, match="QUALITY_LOSS_TYPE: 'huber' is unknown; choose one of bce, l1, mse"):
        quality_loss(torch.randn(4), torch.rand(4), torch.ones(4, dtype=torch.bool), "huber")


@pytest.mark.parametrize("topk", [0, 1, 3, 6, 9])
def test_distillation_from_loops(topk: int) -> None:
    batch, nodes, classes, temperature = 3, 6, 4, 2.0
    student = (
        torch.randn(batch, nodes, classes, requires_grad=True),
        random_boxes(batch, nodes).requires_grad_(),
    )
    teacher = torch.randn(batch, nodes, classes, requires_grad=True), random_boxes(batch, nodes)
    whwh = torch.tensor([[100.0, 50.0, 100.0, 50.0]]).expand(batch, 4)
    found = distill_losses(
        *student,
        *teacher,
        topk=topk,
        image_whwh=whwh,
        l1_weight=5,
        giou_weight=2,
        cls_weight=0.5,
        temperature=temperature,
    )
    l1, giou, ce, count = 0.0, 0.0, 0.0, 0
    for b in range(batch):
        order = sorted(range(nodes), key=lambda n: -teacher[0][b, n].max().item())
        for n in order[: topk or nodes]:
            count += 1
            l1 += float(((student[1][b, n] - teacher[1][b, n]) / whwh[b]).abs().sum())
            giou += float(generalized_box_iou_loss(student[1][b, n], teacher[1][b, n]))
            for x, z in zip(student[0][b, n].tolist(), teacher[0][b, n].tolist(), strict=True):
                s, y = (1 / (1 + math.exp(-v / temperature)) for v in (x, z))
                ce -= y * math.log(s) + (1 - y) * math.log(1 - s)
    assert set(found) == {"loss_distill_bbox", "loss_distill_giou", "loss_distill_ce"}
    assert float(found["loss_distill_bbox"]) == pytest.approx(5 * l1 / count, rel=1e-5)
    assert float(found["loss_distill_giou"]) == pytest.approx(2 * giou / count, rel=1e-5)
    assert float(found["loss_distill_ce"]) == pytest.approx(0.5 * temperature**2 * ce / count, rel=1e-5)
    sum(found.values()).backward()
    assert teacher[0].grad is None
    assert student[1].grad is not None and ((student[1].grad != 0).any(dim=-1).sum() == count)


def test_distillation_weights_of_zero_are_left_out_and_a_perfect_student_has_no_box_loss() -> None:
    logits, boxes, whwh = torch.randn(2, 5, 3), random_boxes(2, 5), torch.full((2, 4), 100.0)
    found = distill_losses(
        logits, boxes, logits, boxes, topk=2, image_whwh=whwh, l1_weight=1, giou_weight=1, cls_weight=0
    )
    assert set(found) == {"loss_distill_bbox", "loss_distill_giou"}
    assert float(found["loss_distill_bbox"]) == 0 and float(found["loss_distill_giou"]) == pytest.approx(0, abs=1e-6)
