"""Quality focal loss, softmax and IoU weighted boxes against scalar code; what the detector makes of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from benchmarks import matcher_and_losses as bench
from c2o_model.modeling import matcher
from c2o_model.modeling.class_losses import class_scores, quality_focal_loss, softmax_cost, softmax_loss
from c2o_model.modeling.losses import LossWeights, detection_losses
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.settings import LossSwitches
from c2o_model.training.draws import draw

WEIGHTS = LossWeights()


def scene(extra: int = 0) -> tuple[bench.Batch, matcher.Match, Tensor]:
    """A batch, its match, and class logits with ``extra`` more columns."""
    batch = bench.make_batch(bench.Case("tiny", 2, 3, 7, 4, 3), seed=2)
    stages = batch.logits.shape[0]
    logits = torch.randn(*batch.logits.shape[:3], 4 + extra, requires_grad=True)
    found = matcher.match(
        logits.detach()[..., :4].flatten(0, 1), batch.boxes.detach().flatten(0, 1), batch.labels.repeat(stages, 1),
        batch.gt_boxes.repeat(stages, 1, 1), batch.mask.repeat(stages, 1), batch.whwh.repeat(stages, 1),
    )  # fmt: skip
    assert found.matched.any() and not found.matched.all()
    return batch, found, logits


def losses(batch: bench.Batch, found: matcher.Match, logits: Tensor, **switches: Any) -> dict[str, Tensor]:
    args = (logits, batch.boxes, found, batch.labels, batch.gt_boxes, batch.whwh, WEIGHTS)
    return detection_losses(*args, switches=LossSwitches(**switches))


def pairs(batch: bench.Batch, found: matcher.Match, stage: int) -> list[tuple[int, int, int]]:
    """(image, node, object or -1) of one stage."""
    index = found.gt_index.view(*batch.boxes.shape[:3])[stage]
    return [(b, n, int(index[b, n])) for b in range(index.shape[0]) for n in range(index.shape[1])]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 3.5])
def test_quality_focal_loss_from_scalars(beta: float) -> None:
    for x, y in ((0.3, 1.0), (-2.0, 0.0), (1.5, 0.4), (-0.7, 0.83)):
        s = 1 / (1 + math.exp(-x))
        expected = -(abs(y - s) ** beta) * ((1 - y) * math.log(1 - s) + y * math.log(s))
        assert float(quality_focal_loss(torch.tensor(x), torch.tensor(y), beta)) == pytest.approx(expected, rel=1e-5)


def test_quality_focal_loss_is_finite_where_the_score_is_right_and_at_extremes() -> None:
    x = torch.tensor([0.0, 1e4, -1e4], requires_grad=True)
    y = torch.tensor([0.5, 0.0, 1.0], requires_grad=True)
    quality_focal_loss(x, y, 0.5).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and y.grad is None


def test_qfl_names_the_iou_of_each_matched_node() -> None:
    batch, found, logits = scene()
    own = losses(batch, found, logits, cls_loss_type="qfl", qfl_beta=1.5)
    plain = losses(batch, found, logits)
    for stage, name in enumerate(("loss_ce_0", "loss_ce")):
        total, count = 0.0, 0
        for b, n, g in pairs(batch, found, stage):
            count += g >= 0
            for k in range(4):
                y = 0.0
                if g >= 0 and int(batch.labels[b, g]) == k:
                    y = float(box_iou(batch.boxes[stage, b, n][None].detach(), batch.gt_boxes[b, g][None]))
                s = 1 / (1 + math.exp(-float(logits[stage, b, n, k].detach())))
                total -= abs(y - s) ** 1.5 * ((1 - y) * math.log(1 - s) + y * math.log(s))
        assert float(own[name].detach()) == pytest.approx(2 * total / count, rel=1e-4)
    assert all(torch.equal(own[name], plain[name]) for name in own if "ce" not in name)
    (gradient,) = torch.autograd.grad(own["loss_ce"], logits)
    assert (gradient[1] != 0).all()
    assert torch.autograd.grad(own["loss_ce_0"], batch.boxes, allow_unused=True) == (None,)  # the IoU is a constant


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_softmax_from_scalars(weight: float) -> None:
    batch, found, logits = scene(extra=1)
    own = losses(batch, found, logits, use_focal=False, no_object_weight=weight)
    for stage, name in enumerate(("loss_ce_0", "loss_ce")):
        total, divisor = 0.0, 0.0
        for b, n, g in pairs(batch, found, stage):
            label = 4 if g < 0 else int(batch.labels[b, g])
            row = logits[stage, b, n].tolist()
            w = weight if g < 0 else 1.0
            total -= w * (row[label] - math.log(sum(math.exp(v) for v in row)))
            divisor += w
        assert float(own[name].detach()) == pytest.approx(2 * total / divisor, rel=1e-5)
    assert float(softmax_loss(torch.randn(1, 1, 2, 4), torch.full((1, 1, 2), 3), 0.0)) == 0  # nothing counts


def test_softmax_cost_and_scores_from_scalars_in_any_company() -> None:
    logits, labels = torch.randn(3, 5, 7) * 4, torch.randint(6, (3, 2))
    cost, scores = softmax_cost(logits, labels), class_scores(logits, use_focal=False)
    assert scores.shape == (3, 5, 6) and torch.equal(class_scores(logits, True), logits.sigmoid())
    for m in range(3):
        assert torch.equal(softmax_cost(logits[m : m + 1], labels[m : m + 1])[0], cost[m])
        for n in range(5):
            parts = [math.exp(v) for v in logits[m, n].tolist()]
            for g in range(2):
                share = parts[int(labels[m, g])] / sum(parts)
                assert float(cost[m, n, g]) == pytest.approx(-share, rel=1e-5)
                assert float(scores[m, n, labels[m, g]]) == pytest.approx(share, rel=1e-5)
    padding = torch.full((3, 2), -1)
    assert softmax_cost(logits, padding).isfinite().all()


def test_a_softmax_match_prefers_the_named_class() -> None:
    """Two equal boxes on one object: background must not pull, the class must."""
    boxes = torch.tensor([[[10.0, 10, 30, 30], [10.0, 10, 30, 30]]])
    mask, whwh = torch.ones(1, 1, dtype=torch.bool), torch.full((1, 4), 64.0)
    logits = torch.tensor([[[0.0, 1.0, 9.0], [0.0, 1.0, -9.0]]])
    found = matcher.match(logits, boxes, torch.tensor([[1]]), boxes[:, :1].clone(), mask, whwh, ota_k=1, softmax=True)
    assert found.gt_index.tolist() == [[-1, 0]]


@pytest.mark.parametrize(("power", "floor"), [(1.0, 0.0), (0.5, 0.1), (2.0, 0.6)])
def test_weighted_boxes_from_scalars(power: float, floor: float) -> None:
    batch, found, logits = scene()
    own = losses(batch, found, logits, box_loss_iou_weight_power=power, box_loss_iou_weight_floor=floor)
    for stage, suffix in enumerate(("_0", "")):
        l1 = giou = divisor = 0.0
        for b, n, g in pairs(batch, found, stage):
            if g < 0:
                continue
            box, gt = batch.boxes[stage, b, n].detach(), batch.gt_boxes[b, g]
            w = max(float(box_iou(box[None], gt[None])) ** power, floor)
            divisor += w
            l1 += w * sum(abs(float(p) - float(q)) / 128 for p, q in zip(box, gt, strict=True))
            giou += w * float(generalized_box_iou_loss(box, gt))
        assert float(own[f"loss_bbox{suffix}"].detach()) == pytest.approx(5 * l1 / divisor, rel=1e-4)
        assert float(own[f"loss_giou{suffix}"].detach()) == pytest.approx(2 * giou / divisor, rel=1e-4)
    assert torch.equal(own["loss_ce"], losses(batch, found, logits)["loss_ce"])
    (gradient,) = torch.autograd.grad(own["loss_bbox"], batch.boxes)
    counts = found.matched[3:] & ((found.iou[3:] > 0) | (floor > 0))
    assert torch.equal((gradient[1] != 0).any(-1), counts)


def test_weighted_boxes_without_a_match_are_zero() -> None:
    batch, found, logits = scene()
    nothing = matcher.Match(torch.full_like(found.gt_index, -1), torch.zeros_like(found.iou))
    own = losses(batch, nothing, logits, box_loss_iou_weight_power=1.0, box_loss_iou_weight_floor=0.0)
    assert float(own["loss_bbox"].detach()) == float(own["loss_giou"].detach()) == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"CLS_LOSS_TYPE": "qfl"},
        {"USE_FOCAL": False},
        {"USE_FOCAL": False, "LABEL_STATE": True, "LABEL_D3PM": True, "NO_OBJECT_WEIGHT": 0.5},
        {"BOX_LOSS_IOU_WEIGHT_POWER": 1.0},
        {"NUM_DYNAMIC": 1},
        {"NUM_DYNAMIC": 3},
    ],
    ids=lambda keys: ",".join(keys),
)
def test_every_form_reaches_every_parameter(
    make_detector: Any, tiny_batch: TrainingBatch, keys: dict[str, Any]
) -> None:
    detector = make_detector(**keys)
    given = detector.losses(tiny_batch, draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000))
    total = torch.stack(list(given.values())).sum()
    total.backward()
    assert total.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    stages = detector.head.head_series
    assert all((s.class_logits.weight.grad != 0).any() and (s.bboxes_delta.weight.grad != 0).any() for s in stages)


def test_a_softmax_detector_has_a_background_output_and_no_focal_prior(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    from detectron2.modeling import build_model

    detector = make_detector(USE_FOCAL=False)
    out = detector.head(detector.features(tiny_batch.images), tiny_batch.boxes, torch.full((4,), 9), tiny_batch.whwh)
    assert out.logits.shape[-1] == 4 and detector.scores(out).shape[-1] == 3
    rest = out.logits[-1].softmax(-1)[..., 3]
    torch.testing.assert_close(detector.scores(out).sum(-1), 1 - rest)
    torch.testing.assert_close(detector.label_distribution(out.logits[-1])[..., 3], rest)
    torch.manual_seed(0)
    fresh = build_model(make_config(USE_FOCAL=False))
    bias = fresh.head.head_series[0].class_logits.bias
    assert bias.abs().max() <= 1 / math.sqrt(16)  # torch's own range; the focal prior is -4.6


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_dynamic_convolutions_in_series_by_hand(count: int) -> None:
    from c2o_model.modeling.head import DynamicConv

    conv = DynamicConv(6, 3, 2, count)
    names = ["dynamic_layer", *(f"norm{i + 1}" for i in range(count)), "out_layer", f"norm{count + 1}"]
    assert [name for name, _ in conv.named_children()] == names
    node, roi = torch.randn(5, 6), torch.randn(5, 4, 6)
    found = conv(node, roi)
    modules = dict(conv.named_children())
    for r in range(5):
        x, weights = roi[r], conv.dynamic_layer.weight @ node[r] + conv.dynamic_layer.bias
        for i in range(count):
            shape = (6, 3) if i % 2 == 0 else (3, 6)
            x = modules[f"norm{i + 1}"](x @ weights[18 * i : 18 * (i + 1)].view(shape)).relu()
        expected = modules[f"norm{count + 1}"](conv.out_layer(x.reshape(-1))).relu()
        torch.testing.assert_close(found[r], expected, rtol=1e-4, atol=1e-5)
