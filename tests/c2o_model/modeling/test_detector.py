"""The detector's own glue: pixels, frozen backbones, losses of all stages, scores, and the parts it is built of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import straightforward
from c2o_model.config import at_test_time, typed_config
from c2o_model.diffusion.labels import keep_probabilities
from c2o_model.diffusion.schedules import cosine_alphas_cumprod
from c2o_model.modeling.detector import build_label_process
from c2o_model.modeling.images import PixelNormaliser
from c2o_model.modeling.matcher import match
from c2o_model.modeling.targets import TrainingBatch, make_noisy_nodes
from c2o_model.training.draws import draw

D = "MODEL.DiffusionDet."
HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True}


def test_pixels_are_normalised_then_padded_at_the_right_and_bottom() -> None:
    normalise = PixelNormaliser([10.0, 20.0, 30.0], [2.0, 4.0, 5.0], 8)
    image = torch.arange(3 * 9 * 5, dtype=torch.uint8).view(3, 9, 5)
    out = normalise(image[None])
    assert out.shape == (1, 3, 16, 8) and out[0, :, 9:].abs().sum() == 0 and out[0, :, :, 5:].abs().sum() == 0
    assert out[0, 1, 2, 3].item() == (float(image[1, 2, 3]) - 20) / 4
    small = image[:, :7, :4]
    both = normalise([image, small])
    assert torch.equal(both[0], out[0]) and both[1, :, 7:].abs().sum() == 0
    assert torch.equal(both[1, :, :7, :4], out[0, :, :7, :4])
    assert normalise.state_dict() == {}  # a released file does not carry them


def test_losses_are_those_of_the_straightforward_implementation(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    """Stage by stage, image by image, object by object, on what the head says of the noisy nodes."""
    detector = make_detector()
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000)
    losses = detector.losses(tiny_batch, draws)
    nodes = make_noisy_nodes(tiny_batch, draws, detector.schedule, 2.0, None)
    out = detector.head(detector.features(tiny_batch.images), nodes.boxes, nodes.t, tiny_batch.whwh)
    labels = [row[m] for row, m in zip(tiny_batch.labels, tiny_batch.mask, strict=True)]
    boxes = [row[m] for row, m in zip(tiny_batch.boxes, tiny_batch.mask, strict=True)]
    expected = straightforward.all_losses(out.logits, out.boxes, labels, boxes, tiny_batch.whwh)
    assert losses.keys() == expected.keys() == {f"loss_{n}{s}" for n in ("ce", "bbox", "giou") for s in ("", "_0")}
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-4, atol=1e-5)
    assert detector(tiny_batch, draws).keys() == losses.keys()


def test_without_deep_supervision_only_the_last_stage_learns_from_boxes(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000)
    deep, last = (
        make_detector().losses(tiny_batch, draws),
        make_detector(DEEP_SUPERVISION=False).losses(tiny_batch, draws),
    )
    assert set(last) == {"loss_ce", "loss_bbox", "loss_giou"}
    assert all(torch.equal(last[name], deep[name]) for name in last)


def test_loss_weights_and_matcher_settings_reach_the_losses(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000)
    plain = make_detector().losses(tiny_batch, draws)
    for key, value in {"ALPHA": 0.9, "GAMMA": 0.5, "CLASS_WEIGHT": 8.0}.items():
        changed = make_detector(**{key: value}).losses(tiny_batch, draws)
        assert not torch.allclose(changed["loss_ce"], plain["loss_ce"]), key
    nodes = [f.detach() for f in make_detector().features(tiny_batch.images)]
    out = make_detector().head(nodes, tiny_batch.boxes[:, [0, 0, 0, 0]], torch.zeros(4).long(), tiny_batch.whwh)
    out.boxes = tiny_batch.boxes[:, :1].expand(2, 4, 4, 4) + torch.randn(2, 4, 4, 4)  # four nodes on the first object
    one, five = (make_detector(OTA_K=k).set_losses(out, tiny_batch) for k in (1, 5))
    assert not torch.allclose(one["loss_ce"], five["loss_ce"])


def test_quality_learns_the_iou_of_the_last_stage(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = make_detector(QUALITY_HEAD=True, QUALITY_LOSS_TYPE="mse", QUALITY_LOSS_WEIGHT=3.0)
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000)
    value = detector.losses(tiny_batch, draws)["loss_quality"]
    nodes = make_noisy_nodes(tiny_batch, draws, detector.schedule, 2.0, None)
    out = detector.head(detector.features(tiny_batch.images), nodes.boxes, nodes.t, tiny_batch.whwh)
    pairs = match(out.logits[-1], out.boxes[-1], tiny_batch.labels, tiny_batch.boxes, tiny_batch.mask, tiny_batch.whwh)
    pairs_of = zip(out.quality.flatten(), pairs.iou.flatten(), pairs.gt_index.flatten(), strict=True)
    wrong = [(float(q.sigmoid()) - float(iou)) ** 2 for q, iou, g in pairs_of if g >= 0]
    assert len(wrong) > 0
    assert float(value) == pytest.approx(3 * sum(wrong) / len(wrong), rel=1e-4)


def test_scores_are_sigmoids_reweighted_when_asked(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    detector = make_detector(QUALITY_HEAD=True)
    features = detector.features(tiny_batch.images)
    boxes = torch.tensor([[[5.0, 5.0, 40.0, 50.0]] * 8] * 4)
    out = detector.head(features, boxes, torch.full((4,), 9), tiny_batch.whwh)
    plain: Tensor = detector.scores(out)
    assert torch.equal(plain, out.logits[-1].sigmoid())
    cfg = at_test_time(
        make_config(QUALITY_HEAD=True), {D + "QUALITY_SCORE_REWEIGHT": True, D + "QUALITY_SCORE_REWEIGHT_POWER": 0.5}
    )
    detector.settings = typed_config(cfg)
    torch.testing.assert_close(detector.scores(out), plain * out.quality.sigmoid().sqrt()[..., None])


def test_a_frozen_backbone_has_no_gradient_and_keeps_its_statistics(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    keys = {"SOLVER.BACKBONE_MULTIPLIER": 0.0, "MODEL.RESNETS.NORM": "BN"}
    detector = make_detector(keys).train()
    before = {k: v.clone() for k, v in detector.backbone.state_dict().items()}
    assert detector.training and not detector.backbone.training
    losses = detector.losses(tiny_batch, draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000))
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is None for p in detector.backbone.parameters())
    assert all(p.grad is not None for p in detector.head.parameters())
    assert all(torch.equal(v, before[k]) for k, v in detector.backbone.state_dict().items())
    free = make_detector({"MODEL.RESNETS.NORM": "BN"}).train()
    free.features(tiny_batch.images)
    assert free.backbone.training and any(
        not torch.equal(v, before[k]) for k, v in free.backbone.state_dict().items() if "running" in k
    )


def test_the_label_process_is_what_the_keys_say(make_config: Any, make_detector: Any) -> None:
    assert build_label_process(typed_config(make_config())) is None
    keys = {**HYBRID, "LABEL_D3PM_KERNEL": "uniform", "KEEP_PROB_SCHEDULE": "alphas_cumprod", "KEEP_PROB_POWER": 0.5}
    process = make_detector(**keys).label_process
    assert (process.kernel, process.num_classes, process.timesteps) == ("uniform", 3, 1000)
    expected = keep_probabilities("alphas_cumprod", cosine_alphas_cumprod(1000), power=0.5, minimum=0.0, const=0.5)
    assert torch.equal(process.keep, expected)


def test_features_given_are_features_used(make_detector: Any, tiny_batch: TrainingBatch) -> None:
    detector = make_detector()
    draws = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    own = detector.losses(tiny_batch, draws)
    given = detector.losses(tiny_batch, draws, [f.detach() for f in detector.features(tiny_batch.images)])
    for name in own:  # features without a gradient are pooled by another kernel
        torch.testing.assert_close(own[name], given[name], rtol=1e-4, atol=1e-5)
    other = detector.losses(tiny_batch, draws, [f * 2 for f in detector.features(tiny_batch.images)])
    assert not torch.equal(own["loss_ce"], other["loss_ce"])
