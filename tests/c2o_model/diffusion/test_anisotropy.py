"""Anisotropic noise: the same covariance forwards and backwards, and ones change no bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2o_model.config import typed_config
from c2o_model.diffusion.anisotropy import shape_noise
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, encode
from c2o_model.diffusion.schedules import GaussianSchedule, ddim_times
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.targets import TrainingBatch, make_noisy_nodes
from c2o_model.sampling import sampler as module
from c2o_model.sampling.sampler import sample
from c2o_model.settings import AnisoSettings
from c2o_model.training.draws import draw

SIGMAS = [0.5, 0.5, 1.5, 0.25]
KEYS = {"ANISO_NOISE": True, "ANISO_NOISE_SIGMA_XY": 0.5, "ANISO_NOISE_SIGMA_W": 1.5, "ANISO_NOISE_SIGMA_H": 0.25}
IDS = [7, 17, 27, 37]
NODES = 3000


def covariance_is(x: Tensor, expected: list[float]) -> None:
    """x [n, 4] has the diagonal covariance `expected`, to five standard errors of an estimate from n draws."""
    found, n = torch.cov(x.T.double()), len(x)
    for i in range(4):
        for j in range(4):
            error = ((1 + (i == j)) * expected[i] * expected[j] / n) ** 0.5
            goal = expected[i] if i == j else 0.0
            assert float(found[i, j]) == pytest.approx(goal, abs=5 * error), (i, j)


def test_each_dimension_has_its_own_sigma_and_off_returns_the_noise_itself() -> None:
    noise = torch.randn(2, 3, 4)
    s = AnisoSettings(True, 0.5, 1.5, 0.25)
    found = shape_noise(noise, s)
    for k, sigma in enumerate(SIGMAS):
        assert torch.equal(found[..., k], noise[..., k] * sigma)
    assert shape_noise(noise, replace(s, aniso_noise=False)) is noise
    assert torch.equal(shape_noise(noise, AnisoSettings(True, 1.0, 1.0, 1.0)), noise)


def test_training_nodes_have_the_covariance(tiny_batch: TrainingBatch) -> None:
    """One full-image object among paddings; the object's node over many draws, where the clamp does not reach."""
    schedule, t = GaussianSchedule.cosine(1000), 250
    count = 2000
    box = torch.tensor([[[16.0, 16.0, 48.0, 48.0]]]).expand(count, 1, 4)
    batch = TrainingBatch(
        torch.zeros(count, 3, 1, 1), box, torch.zeros(count, 1).long(), torch.ones(count, 1, dtype=torch.bool),
        torch.full((count, 4), 64.0),
    )  # fmt: skip
    draws = draw(0, 0, count, 2, 1, 1000)
    draws.t = torch.full((count,), t)
    found = make_noisy_nodes(batch, draws, schedule, 2.0, None, AnisoSettings(True, 0.5, 1.5, 0.25)).boxes[:, 0] / 64
    cxcywh = torch.cat([(found[:, :2] + found[:, 2:]) / 2, found[:, 2:] - found[:, :2]], 1)
    x = (cxcywh * 2 - 1) * 2
    rest = float(1 - schedule.alphas_cumprod[t])
    covariance_is(x, [rest * s**2 for s in SIGMAS])  # x0 = 0: signal of the image's centre, half its size


@pytest.mark.stack_feature("aniso_noise", stack="detectron2")
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("renew", [False, True])
def test_sampling_keeps_the_covariance_of_the_forward_process(
    make_detector: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch, eta: float, renew: bool
) -> None:
    """With a head that always says the same x0, x_t - sqrt(ab_t) x0 has the covariance (1 - ab_t) diag(sigma^2).

    Where every box renews, it is that of a fresh start, diag(sigma^2), at every step.
    """
    detector = make_detector(**KEYS)
    unit = torch.tensor([0.6, 0.4, 0.3, 0.2])
    x0 = encode(unit, 2.0)
    seen: list[Tensor] = []

    def predict(detector: Any, features: Any, whwh: Tensor, state: Any, t: int) -> HeadOutput:
        seen.append(state.x)
        boxes = (cxcywh_to_xyxy(unit) * 64).expand(1, 4, NODES, 4)
        return HeadOutput(torch.zeros(1, 4, NODES, 3), boxes, None)

    monkeypatch.setattr(module, "predict", predict)
    settings = replace(
        detector.settings.sampler, sample_step=4, sample_eta=eta, test_num_proposals=NODES, box_renewal=renew,
        box_renewal_thresh=1.0, use_nms=False,
    )  # fmt: skip
    sample(detector, [torch.zeros(4, 1, 1, 1)], tiny_batch.whwh, IDS, [0], settings)
    assert len(seen) == 4
    for x, (t, _) in zip(seen, ddim_times(4, 1000), strict=True):
        signal = float(detector.schedule.alphas_cumprod[t])
        rest = 1.0 if renew or t == 999 else 1 - signal
        x = x.flatten(0, 1)
        covariance_is(x, [rest * s**2 for s in SIGMAS])
        mean = x0 * (0.0 if renew or t == 999 else signal**0.5)
        torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=5 * 1.5 * (1 / len(x)) ** 0.5)


def test_ones_change_no_bit_and_other_sigmas_do(
    make_config: Any, make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    def everything(**keys: Any) -> list[Tensor]:
        detector = make_detector(**keys)
        losses = detector.losses(tiny_batch, draw(3, 1, 4, 8, tiny_batch.mask.shape[1], 1000))
        features = [f.detach() for f in detector.features(tiny_batch.images)]
        settings = typed_config(make_config(SAMPLE_STEP=3, **keys)).sampler
        found = sample(detector, features, tiny_batch.whwh, IDS, [0, 5], settings)
        return [*losses.values(), *(d.boxes for image in found for d in image)]

    plain = everything()
    assert all(torch.equal(a, b) for a, b in zip(plain, everything(ANISO_NOISE=True), strict=True))
    wild = everything(**KEYS)
    assert all(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(plain, wild, strict=True))
