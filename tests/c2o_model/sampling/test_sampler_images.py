"""What one image gets from the sampler: its own renewal, its own noise, and DiffusionDet's ensemble on request."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2o_model.data.loader import image_batches
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling import sampler as module
from c2o_model.sampling.noise import step_noise
from c2o_model.sampling.sampler import sample

IDS = [7, 17, 27, 37]
HYBRID = {"LABEL_STATE": True, "LABEL_D3PM": True, "QUALITY_HEAD": True, "QUALITY_SCORE_REWEIGHT": True}


def boxes_of(noise: Tensor) -> Tensor:
    """Signal in [-2, 2] -> pixels of a 64 px image."""
    unit = (noise.clamp(-2, 2) / 2 + 1) / 2 * 64
    return torch.cat([unit[..., :2] - unit[..., 2:] / 2, unit[..., :2] + unit[..., 2:] / 2], -1)


@pytest.mark.stack_feature("renewal", stack="detectron2")
def test_renewal_is_each_images_own(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step exactly the nodes at or below the threshold start again, in place, from the image's own noise."""
    detector = make_detector()
    given, said = [], []
    real = detector.head.forward

    def forward(*args: Any) -> Any:
        given.append(args[1])
        said.append(real(*args))
        return said[-1]

    monkeypatch.setattr(detector.head, "forward", forward)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        sample(detector, features, tiny_batch.whwh, IDS, [5], detector.settings.sampler)
        threshold = float(said[0].logits[-1].sigmoid().amax(-1).median())
        given.clear()
        said.clear()
        settings = replace(detector.settings.sampler, sample_step=4, box_renewal_thresh=threshold)
        sample(detector, features, tiny_batch.whwh, IDS, [5], settings)
    counts = set()
    for step in range(3):
        stale = said[step].logits[-1].sigmoid().amax(-1) <= threshold
        for i, image in enumerate(IDS):
            fresh = boxes_of(step_noise([(5, image, 0)], step, 8, torch.device("cpu")).renewal[0])
            for n in range(8):
                same = torch.allclose(given[step + 1][i, n], fresh[n], rtol=1e-5, atol=1e-3)
                assert same == bool(stale[i, n]), (step, i, n)
            counts.add(int(stale[i].sum()))
    assert len(counts) > 2  # images differ in how many nodes they renew


@pytest.mark.parametrize("keys", [{}, HYBRID], ids=["plain", "hybrid"])
def test_diffusiondets_ensemble_of_two_steps_is_the_first_step(
    make_detector: Any, tiny_batch: TrainingBatch, keys: dict[str, Any]
) -> None:
    """It leaves the last step out; the first of two steps is the whole of a one-step sampler, to the bit."""
    detector = make_detector(**keys)
    settings = replace(detector.settings.sampler, sampler_compat="diffusiondet", box_renewal_thresh=0.6)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        one, two, three = (
            sample(detector, features, tiny_batch.whwh, IDS, [0, 1], replace(settings, sample_step=k))
            for k in (1, 2, 3)
        )
        ours = sample(
            detector, features, tiny_batch.whwh, IDS, [0, 1], replace(settings, sample_step=2, sampler_compat="c2o")
        )
    for a, b in zip(itertools.chain(*one), itertools.chain(*two), strict=True):
        assert torch.equal(a.boxes, b.boxes) and torch.equal(a.scores, b.scores) and torch.equal(a.labels, b.labels)
    for other in (three, ours):
        assert any(len(a.scores) != len(b.scores) or not torch.equal(a.scores, b.scores)
                   for a, b in zip(itertools.chain(*one), itertools.chain(*other), strict=True))  # fmt: skip


def test_diffusiondets_ensemble_is_ours_without_the_candidates_of_the_last_step(
    make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    """Without suppression every candidate is seen: 8 a step."""
    detector = make_detector()
    settings = replace(detector.settings.sampler, use_nms=False, sample_step=4)
    with torch.no_grad():
        features = detector.features(tiny_batch.images)
        ours = sample(detector, features, tiny_batch.whwh, IDS, [0], settings, 9999)
        theirs = sample(
            detector, features, tiny_batch.whwh, IDS, [0], replace(settings, sampler_compat="diffusiondet"), 9999
        )
        last = sample(detector, features, tiny_batch.whwh, IDS, [0], replace(settings, use_ensemble=False), 9999)
    for whole, part, end in zip(ours, theirs, last, strict=True):
        joined = sorted([*part[0].scores.tolist(), *end[0].scores.tolist()])
        assert joined == sorted(whole[0].scores.tolist()) and len(end[0].scores) > 0


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("keys", [{}, HYBRID], ids=["plain", "hybrid"])
def test_batch_and_order_do_not_matter(
    make_detector: Any, tiny_split: Any, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], steps: int
) -> None:
    """Batch 1 or 8, the images in three orders: the same detections for (image, eval seed).

    The same up to the rounding of matrix products, which follows their shape; weights of a tenth their usual size let
    20 steps not amplify it.
    """
    detector = make_detector(**keys)
    renewed = []
    real = module.renew

    def renew(state: Any, best: Tensor, *rest: Any) -> Any:
        renewed.append(float((best <= rest[-1]).float().mean()))
        return real(state, best, *rest)

    monkeypatch.setattr(module, "renew", renew)
    batch = next(image_batches(tiny_split, 8))
    ids, whwh = batch.image_ids.tolist(), torch.full((8, 4), 64.0)
    with torch.no_grad():
        for stage in detector.head.head_series:
            stage.bboxes_delta.weight.mul_(0.1)
            stage.bboxes_delta.bias.mul_(0.1)
    with torch.no_grad():
        out = detector.head(
            detector.features(batch.images), boxes_of(torch.randn(8, 8, 4)), torch.full((8,), 999), whwh
        )
        threshold = float(out.logits[-1].sigmoid().amax(-1).median())
        settings = replace(detector.settings.sampler, sample_step=steps, box_renewal_thresh=threshold)
        together = sample(detector, detector.features(batch.images), whwh, ids, [0, 4], settings)
        for order in (list(range(7, -1, -1)), [3, 0, 7, 1, 6, 2, 5, 4]):
            other = sample(
                detector, detector.features(batch.images[order]), whwh, [ids[i] for i in order], [0, 4], settings
            )
            for place, i in enumerate(order):
                for s in range(2):
                    assert_alike(other[place][s], together[i][s])
        for i in range(8):
            own = detector.features(batch.images[i : i + 1])
            alone = sample(detector, own, whwh[:1], ids[i : i + 1], [0, 4], settings)[0]
            for s in range(2):
                assert_alike(alone[s], together[i][s])
    assert any(not torch.equal(a[0].scores, a[1].scores) for a in together)  # the seeds differ
    assert steps == 1 or any(0.1 < share < 0.9 for share in renewed)


def assert_alike(a: Any, b: Any) -> None:
    """Equal labels in equal order, scores to 1e-5, boxes to a thousandth of a pixel."""
    assert a.labels.tolist() == b.labels.tolist()
    torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=1e-3)
