"""The numbers of a step, derived without C2O: by Diffusers' own DDIM, by matrices, and by counting draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from c2o_model.diffusers import D3PMLabelScheduler, DDIMBoxScheduler, GaussianLabelScheduler

T = 1000


def alphas() -> list[float]:
    """alpha_bar_t of the cosine schedule (arXiv 2102.09672, eq. 17), in Python's floats."""
    f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
    betas = [min(1 - f[i + 1] / f[i], 0.999) for i in range(T)]
    return list(itertools.accumulate((1 - b for b in betas), lambda a, b: a * b))


def theirs() -> DDIMScheduler:
    ab = alphas()
    betas = [1 - a / b for a, b in zip(ab, [1.0, *ab[:-1]], strict=True)]
    return DDIMScheduler(
        num_train_timesteps=T,
        trained_betas=betas,
        prediction_type="sample",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


@pytest.mark.parametrize("steps", [1, 4, 20, 50])  # of 1000 levels: their times are ours where k divides T
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_boxes_walk_as_with_the_ddim_scheduler_of_diffusers(steps: int, eta: float) -> None:
    own, other = DDIMBoxScheduler(eta=eta, clip_sample=False), theirs()
    own.set_timesteps(steps)
    other.set_timesteps(steps)
    assert own.timesteps.tolist() == other.timesteps.tolist()
    generator = torch.Generator().manual_seed(steps)
    x = y = torch.randn(2, 6, 4, generator=generator)
    for t in own.timesteps:
        x0, noise = torch.randn(2, 2, 6, 4, generator=generator)
        a = own.step(x0, t, x, variance_noise=noise)
        b = other.step(x0, t, y, eta=eta, variance_noise=noise)
        torch.testing.assert_close(a.prev_sample, b.prev_sample, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(a.pred_original_sample, b.pred_original_sample)
        x = y = a.prev_sample


def test_boxes_are_noised_as_with_the_ddim_scheduler_of_diffusers() -> None:
    own, other = DDIMBoxScheduler(), theirs()
    x0, noise = torch.randn(2, 5, 6, 4, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0, 10, 499, 990, 999])
    torch.testing.assert_close(own.add_noise(x0, noise, t), other.add_noise(x0, noise, t), rtol=1e-4, atol=1e-4)
    sigmas = DDIMBoxScheduler(noise_sigmas=[1.0, 1.0, 0.5, 2.0])
    shaped = noise * torch.tensor([1.0, 1.0, 0.5, 2.0])
    torch.testing.assert_close(sigmas.add_noise(x0, noise, t), other.add_noise(x0, shaped, t), rtol=1e-4, atol=1e-4)


def test_the_noise_of_a_step_has_the_sigmas_once() -> None:
    plain, sigmas = DDIMBoxScheduler(), DDIMBoxScheduler(noise_sigmas=[1.0, 1.0, 0.5, 2.0])
    for one in (plain, sigmas):
        one.set_timesteps(4)
    x0, x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    shaped = noise * torch.tensor([1.0, 1.0, 0.5, 2.0])
    expected = plain.step(x0, 499, x, variance_noise=shaped).prev_sample
    assert torch.equal(sigmas.step(x0, 499, x, variance_noise=noise).prev_sample, expected)
    drawn = sigmas.step(x0, 499, x, generator=torch.Generator().manual_seed(3)).prev_sample
    assert torch.equal(drawn, expected)
    given_ = sigmas.step(x0, 499, x, variance_noise=shaped, noise_is_shaped=True).prev_sample
    assert torch.equal(given_, expected)


def test_predictions_are_clipped_to_the_signal() -> None:
    own, other = DDIMBoxScheduler(eta=0.0, snr_scale=1.5), theirs()
    own.set_timesteps(4)
    other.set_timesteps(4)
    x0, x = 3 * torch.randn(2, 2, 6, 4, generator=torch.Generator().manual_seed(2))
    found = own.step(x0, 749, x)
    assert found.pred_original_sample.abs().max() == 1.5
    expected = other.step(x0.clamp(-1.5, 1.5), 749, x).prev_sample
    torch.testing.assert_close(found.prev_sample, expected, rtol=1e-3, atol=1e-3)


def test_pixels_and_signal() -> None:
    """By hand: a box over the left half of an image of 80 x 40 px has the centre (0.25, 0.5) and the size (0.5, 1)."""
    scheduler, whwh = DDIMBoxScheduler(), torch.tensor([[80.0, 40.0, 80.0, 40.0]])
    boxes = torch.tensor([[[0.0, 0.0, 40.0, 40.0], [20.0, 10.0, 60.0, 30.0]]])
    signal = scheduler.encode(boxes, whwh)
    assert signal.tolist() == [[[-1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]
    assert torch.equal(scheduler.decode(signal, whwh), boxes)
    wild = torch.tensor([[[-7.0, 0.0, 0.0, 9.0]]])  # clamped to (-2, 0, 0, 2): centre (0, 0.5), size (0.5, 1)
    assert scheduler.decode(wild, whwh).tolist() == [[[-20.0, 0.0, 20.0, 40.0]]]


def matrices(kernel: str, keep: list[float], classes: int) -> list[Tensor]:
    """Q_0 ... Q_{T-1}, one level each, from their definition (D3PM, sec. 3.1)."""
    eye = torch.eye(classes + 1, dtype=torch.float64)
    noise = torch.full_like(eye, 1 / (classes + 1))
    if kernel == "mask":
        noise = torch.zeros_like(eye)
        noise[:, -1] = 1
    ratios = [a / b for a, b in zip(keep, [1.0, *keep[:-1]], strict=True)]
    return [r * eye + (1 - r) * noise for r in ratios]


KEEPS = {
    "sqrt_alphas_cumprod": lambda ab: [math.sqrt(a) for a in ab],
    "alphas_cumprod": lambda ab: list(ab),
    "linear": lambda ab: [1 - (i + 1) / len(ab) for i in range(len(ab))],
}


def small_alphas(levels: int) -> list[float]:
    f = [math.cos((i / levels + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(levels + 1)]
    betas = [min(1 - f[i + 1] / f[i], 0.999) for i in range(levels)]
    return list(itertools.accumulate((1 - b for b in betas), lambda a, b: a * b))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.sampled_from(["mask", "uniform"]),
    keep=st.sampled_from(sorted(KEEPS)),
    steps=st.integers(1, 8),
    classes=st.integers(1, 4),
    seed=st.integers(0, 2**20),
)
def test_labels_walk_by_bayes_rule_over_products_of_matrices(
    kernel: str, keep: str, steps: int, classes: int, seed: int
) -> None:
    """q(c_s|c_t, c_0) from Q_0 ... Q_t alone, averaged over p(x_0), for every step of every hard state."""
    levels, states = 8, classes + 1
    scheduler = D3PMLabelScheduler(classes, levels, kernel, keep)
    scheduler.set_timesteps(steps)
    q = matrices(kernel, KEEPS[keep](small_alphas(levels)), classes)
    products = list(itertools.accumulate(q, torch.matmul))
    p0 = torch.randn(1, states, states, generator=torch.Generator().manual_seed(seed)).softmax(-1)  # one a state
    c_t = torch.arange(states)[None]
    for t in scheduler.timesteps.tolist():
        _, s = scheduler.previous_timestep(t)
        to_s = products[s] if s >= 0 else torch.eye(states, dtype=torch.float64)
        between = torch.eye(states, dtype=torch.float64)
        for level in range(s + 1, t + 1):
            between = between @ q[level]
        expected = torch.zeros(states, states, dtype=torch.float64)
        for c in range(states):
            reach = [c0 for c0 in range(states) if products[t][c0, c] > 0]  # those that can lead to c
            if kernel == "mask" and c < classes:
                expected[c, c] = 1
                continue
            for c0 in reach:
                expected[c] += p0[0, c, c0] * between[:, c] * to_s[c0] / products[t][c0, c]
        found = scheduler.step(p0, t, c_t).prev_sample[0].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
def test_hard_labels_are_drawn_as_often_as_the_distribution_says(kernel: str) -> None:
    soft, hard = (D3PMLabelScheduler(3, kernel=kernel, use_distribution=d) for d in (True, False))
    for one in (soft, hard):
        one.set_timesteps(4)
    many = 20000
    p0 = torch.tensor([0.5, 0.2, 0.1, 0.2]).expand(1, many, 4)
    unk = torch.full((1, many), 3)
    expected = soft.step(p0, 499, unk).prev_sample[0, 0]
    drawn = hard.step(p0, 499, unk, generator=torch.Generator().manual_seed(0)).prev_sample
    assert drawn.dtype == torch.int64
    share = torch.bincount(drawn[0], minlength=4) / many
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / many).sqrt() + 1e-9).all()
    one_hot = torch.nn.functional.one_hot(unk, 4).float()
    same = hard.step(p0, 499, one_hot, generator=torch.Generator().manual_seed(0)).prev_sample
    assert same.dtype == torch.float32 and torch.equal(same.argmax(-1), drawn) and (same.sum(-1) == 1).all()


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
def test_labels_are_lost_as_often_as_the_schedule_says(kernel: str) -> None:
    scheduler, many, t = D3PMLabelScheduler(3, kernel=kernel), 20000, 600
    keep = math.sqrt(alphas()[t])
    labels = torch.ones(1, many, dtype=torch.int64)
    noise = torch.rand(1, many, generator=torch.Generator().manual_seed(0))
    noisy = scheduler.add_noise(labels, noise, torch.tensor([t]))
    share = torch.bincount(noisy[0], minlength=4) / many
    lost = [0.0, 0.0, 0.0, 1 - keep] if kernel == "mask" else [(1 - keep) / 4] * 4
    expected = torch.tensor(lost) + keep * torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert ((share - expected).abs() < 0.02).all()
    assert scheduler.unk == 3


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_gaussian_labels_walk_as_with_the_ddim_scheduler_of_diffusers(eta: float) -> None:
    """The vector of a label is scale (2 onehot - 1), and its prediction that of p(x_0)."""
    own, other = GaussianLabelScheduler(3, eta=eta), theirs()
    own.set_timesteps(4)
    other.set_timesteps(4)
    generator = torch.Generator().manual_seed(3)
    x, noise, logits = torch.randn(3, 2, 6, 4, generator=generator)
    p0 = logits.softmax(-1)
    for t in (749, 249):
        found = own.step(p0, t, x, variance_noise=noise)
        expected = other.step((2 * p0 - 1) * 2, t, x, eta=eta, variance_noise=noise)
        torch.testing.assert_close(found.prev_sample, expected.prev_sample, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.pred_original_sample, expected.pred_original_sample)
    labels = torch.randint(0, 4, (2, 6), generator=generator)
    clean = (2 * torch.eye(4)[labels] - 1) * 2
    level = torch.tensor([5, 700])
    found, expected = own.add_noise(labels, noise, level), other.add_noise(clean, noise, level)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
