"""Schedules against closed forms in plain floats, brute products and DDPM's own posterior."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2o_model.diffusion.schedules import (
    GaussianSchedule,
    cosine_alphas_cumprod,
    ddim_times,
    diffusion_buffers,
)

T = 1000


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def f(t: float, timesteps: int, s: float = 0.008) -> float:
    return math.cos((t / timesteps + s) / (1 + s) * math.pi / 2) ** 2


@pytest.mark.parametrize("timesteps", [1, 7, 100, 1000])
def test_alphas_cumprod_is_the_brute_product(timesteps: int) -> None:
    product, expected = 1.0, []
    for t in range(timesteps):
        product *= 1 - min(1 - f(t + 1, timesteps) / f(t, timesteps), 0.999)
        expected.append(product)
    found = cosine_alphas_cumprod(timesteps)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_alphas_cumprod_is_the_closed_form_where_no_beta_is_clipped() -> None:
    found = cosine_alphas_cumprod(T)
    closed = torch.tensor([f(t + 1, T) / f(0, T) for t in range(T - 1)], dtype=torch.float64)
    torch.testing.assert_close(found[:-1], closed, rtol=1e-9, atol=0)
    assert found[-1] / found[-2] == pytest.approx(0.001)  # the last step is clipped
    assert (found[1:] < found[:-1]).all() and found[0] < 1


def test_no_levels_is_an_error() -> None:
    with pytest.raises(ValueError, match="DIFFUSION_TIMESTEPS: 0 is no number of noise levels"):
        cosine_alphas_cumprod(0)


def test_buffers_from_scalars() -> None:
    tables = diffusion_buffers(T)
    assert set(tables) == {
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
        "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1",
        "posterior_mean_coef2",
    }  # fmt: skip
    assert all(v.dtype == torch.float32 and v.shape == (T,) for v in tables.values())
    ab = 1.0
    for t in range(T):
        prev, beta = ab, min(1 - f(t + 1, T) / f(t, T), 0.999)
        ab *= 1 - beta
        variance = beta * (1 - prev) / (1 - ab)
        expected = {
            "betas": beta,
            "alphas_cumprod": ab,
            "alphas_cumprod_prev": prev,
            "sqrt_alphas_cumprod": math.sqrt(ab),
            "sqrt_one_minus_alphas_cumprod": math.sqrt(1 - ab),
            "log_one_minus_alphas_cumprod": math.log(1 - ab),
            "sqrt_recip_alphas_cumprod": 1 / math.sqrt(ab),
            "sqrt_recipm1_alphas_cumprod": math.sqrt((1 - ab) / ab),
            "posterior_variance": variance,
            "posterior_log_variance_clipped": math.log(max(variance, 1e-20)),
            "posterior_mean_coef1": beta * math.sqrt(prev) / (1 - ab),
            "posterior_mean_coef2": (1 - prev) * math.sqrt(1 - beta) / (1 - ab),
        }
        for name, value in expected.items():
            assert float(tables[name][t]) == pytest.approx(value, rel=2e-6, abs=1e-12), (name, t)


def test_ddim_times_by_hand() -> None:
    assert ddim_times(1, 1000) == [(999, -1)]
    assert ddim_times(2, 1000) == [(999, 499), (499, -1)]
    assert ddim_times(3, 1000) == [(999, 665), (665, 332), (332, -1)]
    assert ddim_times(3, 3) == [(2, 1), (1, 0), (0, -1)]


@given(st.integers(1, 2000).flatmap(lambda t: st.tuples(st.integers(1, t), st.just(t))))
def test_ddim_times_is_the_truncated_linspace(case: tuple[int, int]) -> None:
    steps, timesteps = case
    exact = [math.trunc(-1 + Fraction(i * timesteps, steps)) for i in range(steps + 1)]
    pairs = ddim_times(steps, timesteps)
    assert pairs == [(exact[i + 1], exact[i]) for i in range(steps - 1, -1, -1)]
    assert all(s < t for t, s in pairs)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8, 10, 20, 25, 50])
def test_ddim_times_are_those_of_a_float_linspace_at_usual_step_counts(steps: int) -> None:
    times = torch.linspace(-1, T - 1, steps + 1).int().tolist()[::-1]
    assert ddim_times(steps, T) == list(zip(times[:-1], times[1:], strict=True))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_ddim_times_refuses_what_does_not_fit(steps: int) -> None:
    with pytest.raises(ValueError, match=f"SAMPLE_STEP: {steps} steps do not fit 1000 noise levels"):
        ddim_times(steps, T)


def test_predict_noise_inverts_q_sample() -> None:
    schedule = GaussianSchedule.cosine(T)
    x0, noise = torch.randn(64, 5, 4), torch.randn(64, 5, 4)
    t = torch.linspace(5, 990, 64).long()
    torch.testing.assert_close(
        schedule.predict_noise(schedule.q_sample(x0, t, noise), t, x0), noise, rtol=1e-3, atol=1e-3
    )


def test_q_sample_from_scalars() -> None:
    schedule, ab = GaussianSchedule.cosine(T), cosine_alphas_cumprod(T)
    x0, noise = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    found = schedule.q_sample(x0, torch.tensor([0, 500, 999]), noise)
    for b, t in enumerate((0, 500, 999)):
        torch.testing.assert_close(found[b], (x0[b] * ab[t].sqrt() + noise[b] * (1 - ab[t]).sqrt()).float())
        torch.testing.assert_close(found[b : b + 1], schedule.q_sample(x0[b : b + 1], t, noise[b : b + 1]))


@pytest.mark.parametrize("pair", [(999, 499), (800, 799), (500, 20), (1, 0)])
def test_deterministic_step_with_the_true_x0_lands_on_the_same_trajectory(pair: tuple[int, int]) -> None:
    t, s = pair
    schedule = GaussianSchedule.cosine(T)
    x0, noise = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    found = schedule.ddim_step(schedule.q_sample(x0, t, noise), x0, t, s, 0.0, None)
    torch.testing.assert_close(found, schedule.q_sample(x0, s, noise), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", [1, 10, 500, 998])
def test_one_level_at_eta_1_is_the_ddpm_posterior(t: int) -> None:
    tables, schedule = diffusion_buffers(T), GaussianSchedule.cosine(T)
    x0, x_t = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    mean = schedule.ddim_step(x_t, x0, t, t - 1, 1.0, torch.zeros_like(x0))
    expected = tables["posterior_mean_coef1"][t] * x0 + tables["posterior_mean_coef2"][t] * x_t
    torch.testing.assert_close(mean, expected, rtol=2e-3, atol=2e-3)
    spread = schedule.ddim_step(x_t, x0, t, t - 1, 1.0, torch.ones_like(x0)) - mean
    torch.testing.assert_close(spread, tables["posterior_variance"][t].sqrt().expand_as(spread), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_keeps_the_marginal_variance(eta: float) -> None:
    """x_s given x_0 has variance 1 - ab_s whatever eta: the squares of the two noise factors add up to it."""
    schedule, t, s = GaussianSchedule.cosine(T), 700, 300
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    along = schedule.ddim_step(schedule.q_sample(zero, t, one), zero, t, s, eta, zero)
    across = schedule.ddim_step(zero, zero, t, s, eta, one)
    total = float(along**2 + across**2)
    assert total == pytest.approx(1 - float(cosine_alphas_cumprod(T)[s]), rel=1e-4)


def test_the_last_step_returns_x0_and_bad_steps_are_errors() -> None:
    schedule, x = GaussianSchedule.cosine(T), torch.randn(1, 3, 4)
    assert schedule.ddim_step(torch.randn(1, 3, 4), x, 20, -1, 1.0, None) is x
    for t, s in ((5, 5), (5, 6), (1000, 3), (5, -2)):
        with pytest.raises(ValueError, match="needs -1 <= s < t < 1000"):
            schedule.ddim_step(x, x, t, s, 0.0, None)
    with pytest.raises(ValueError, match="eta = 1.0 needs noise"):
        schedule.ddim_step(x, x, 5, 4, 1.0, None)


def test_to_moves_every_table() -> None:
    moved = GaussianSchedule.cosine(10).to("meta")
    assert moved.alphas_cumprod.is_meta and moved.sqrt_recipm1_alphas_cumprod.is_meta and moved.timesteps == 10
