"""The federated loss: which classes take part, how often, and that no other class learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from c2o_model.config import ConfigError
from c2o_model.modeling.federated import FederatedClasses
from c2o_model.modeling.losses import LossWeights, detection_losses, focal_loss
from c2o_model.modeling.matcher import Match
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw
from c2o_model.training.frequencies import image_counts, set_class_frequencies

D = "MODEL.DiffusionDet."


def test_classes_of_objects_always_take_part_and_padding_never_names_one() -> None:
    labels, mask = torch.tensor([[4, 1, -1], [4, 0, 2]]), torch.tensor([[True, True, False], [True, False, False]])
    for seed in range(20):
        u = torch.rand(6, generator=torch.Generator().manual_seed(seed))
        chosen = FederatedClasses(torch.tensor([1.0, 1, 0, 1, 1, 0]), 3).choose(labels, mask, u)
        assert chosen[[1, 4]].all() and chosen.sum() == 3 and not chosen[[2, 5]].any()
    few = FederatedClasses(torch.ones(6), 1).choose(labels, mask, u)
    assert few.tolist() == [False, True, False, False, True, False]  # more objects' classes than asked for
    assert FederatedClasses(torch.ones(6), 9).choose(labels, mask, u).all()


def test_negatives_follow_the_weights_without_replacement() -> None:
    """First and second of a draw of two of four, against the product formula of sequential sampling."""
    weights, count = torch.tensor([1.0, 2.0, 3.0, 4.0]), 4000
    rule, rng = FederatedClasses(weights, 2), torch.Generator().manual_seed(1)
    nothing = torch.zeros(1, 1).long(), torch.zeros(1, 1, dtype=torch.bool)
    seen = torch.stack([rule.choose(*nothing, torch.rand(4, generator=rng)) for _ in range(count)])
    assert (seen.sum(1) == 2).all()
    p = weights / 10
    for k in range(4):
        second = sum(float(p[j]) * float(p[k]) / (1 - float(p[j])) for j in range(4) if j != k)
        expected = float(p[k]) + second
        error = (expected * (1 - expected) / count) ** 0.5
        assert float(seen[:, k].float().mean()) == pytest.approx(expected, abs=5 * error)


def test_the_loss_is_the_focal_loss_of_the_classes_that_take_part() -> None:
    logits = torch.randn(2, 2, 5, 6, requires_grad=True)
    index = torch.tensor([[0, -1, 1, -1, -1], [-1, 0, -1, -1, -1]] * 2)
    labels, gt = torch.tensor([[2, 5], [0, 0]]), torch.tensor([[[0.0, 0, 9, 9]] * 2] * 2)
    part = torch.tensor([True, False, True, True, False, True])
    found = detection_losses(
        logits, torch.rand(2, 2, 5, 4), Match(index, torch.zeros(4, 5)), labels, gt, torch.full((2, 4), 64.0),
        LossWeights(), taking_part=part,
    )  # fmt: skip
    target = torch.zeros(2, 5, 6)
    target[0, 0, 2] = target[0, 2, 5] = target[1, 1, 0] = 1
    expected = 2 * focal_loss(logits[1], target)[..., part].sum() / 3
    torch.testing.assert_close(found["loss_ce"], expected)
    (gradient,) = torch.autograd.grad(found["loss_ce"], logits)
    assert (gradient[1][..., part] != 0).all() and (gradient[1][..., ~part] == 0).all()


def test_image_counts_are_counted_one_by_one(tiny_split: Any) -> None:
    expected = [sum(k in labels.tolist() for labels in tiny_split.labels) for k in range(3)]
    assert image_counts(tiny_split).tolist() == expected and sum(expected) > 0
    assert sum(len(np.unique(v)) for v in tiny_split.labels) == sum(expected)


def test_a_detector_learns_from_the_drawn_classes_only(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch, tiny_split: Any
) -> None:
    values = {"MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": 2, "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER": 0.0}
    keys: dict[str, Any] = {"USE_FED_LOSS": True, "NUM_CLASSES": 5}
    detector = make_detector(values, **keys)
    draws = draw(2, 7, 4, 8, tiny_batch.mask.shape[1], 1000, classes=5)
    with pytest.raises(ConfigError, match="USE_FED_LOSS: True needs class frequencies and a draw of classes"):
        detector.losses(tiny_batch, draws)
    set_class_frequencies(make_config(values, **keys), detector, tiny_split)
    assert detector.federated.weights.tolist() == [1, 1, 1] and detector.federated.count == 2
    detector.federated = FederatedClasses(torch.ones(5), 4)
    chosen = detector.federated.choose(tiny_batch.labels, tiny_batch.mask, draws.classes)
    torch.stack(list(detector.losses(tiny_batch, draws).values())).sum().backward()
    for stage in detector.head.head_series:
        learned = (stage.class_logits.weight.grad != 0).any(1)
        assert torch.equal(learned, chosen) and chosen.sum() == 4
    plain = make_detector()
    set_class_frequencies(make_config(), plain, tiny_split)
    assert plain.federated is None


def test_the_draw_is_keyed_and_changes_no_other_number() -> None:
    plain, fed = draw(1, 2, 3, 4, 5, 6), draw(1, 2, 3, 4, 5, 6, classes=7, label_states=4)
    for name in ("t", "noise", "fill", "order", "label", "start"):
        assert torch.equal(getattr(plain, name), getattr(fed, name))
    assert plain.classes is None and plain.label_noise is None
    assert fed.classes.shape == (7,) and fed.label_noise.shape == (3, 4, 4)
    assert torch.equal(fed.classes, draw(1, 2, 1, 9, 1, 6, classes=7).classes)  # of the step, whatever the batch
    assert not torch.equal(fed.classes, draw(1, 3, 3, 4, 5, 6, classes=7).classes)


@pytest.mark.parametrize("key", [("CLS_LOSS_TYPE", "qfl"), ("USE_FED_LOSS", True), ("SAMPLER_DISTILL", True)])
def test_softmax_refuses_what_needs_sigmoids(make_config: Any, key: tuple[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(USE_FOCAL=False, **{key[0]: key[1]})
    assert str(caught.value) == f"{D}{key[0]}: {key[1]!r} works on sigmoid scores and needs {D}USE_FOCAL: True"
    with pytest.raises(ConfigError, match="FED_LOSS_NUM_CLASSES: 0 classes cannot carry a loss; give 1 or more"):
        make_config({"MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": 0}, USE_FED_LOSS=True)
