"""D3PM against brute-force matrix products and Bayes' rule by enumeration."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from c2o_model.diffusion.labels import (
    LabelDiffusion,
    keep_probabilities,
    sample_categorical,
    x0_distribution,
)
from c2o_model.diffusion.schedules import cosine_alphas_cumprod

CASES = list(itertools.product(["mask", "uniform"], [1, 2, 4, 10]))
KEEP = torch.tensor([0.97, 0.9, 0.55, 0.5, 0.2, 0.01], dtype=torch.float64)


def brute_transition(kernel: str, k: int, stay: float) -> Tensor:
    """One step from its definition, entry by entry."""
    q = torch.zeros(k + 1, k + 1, dtype=torch.float64)
    for i in range(k + 1):
        q[i, i] += stay
        for j in range(k + 1):
            if kernel == "uniform":
                q[i, j] += (1 - stay) / (k + 1)
            elif j == k:
                q[i, j] += 1 - stay
    return q


def brute_between(kernel: str, k: int, s: int, t: int) -> Tensor:
    """q(c_t | c_s) as a product of single steps; s = -1 is clean data."""
    levels = [1.0, *KEEP.tolist()]
    q = torch.eye(k + 1, dtype=torch.float64)
    for level in range(s + 1, t + 1):
        q = q @ brute_transition(kernel, k, levels[level + 1] / levels[level])
    return q


def brute_posterior(kernel: str, k: int, c_t: int, p0: Tensor, t: int, s: int) -> Tensor:
    """q(c_s|c_t,c_0) by Bayes over every pair of states, averaged over the p(x_0) that can lead to c_t."""
    before, jump, whole = (brute_between(kernel, k, *pair) for pair in ((-1, s), (s, t), (-1, t)))
    out, mass = torch.zeros(k + 1, dtype=torch.float64), 0.0
    for c_0 in range(k + 1):
        if whole[c_0, c_t] == 0:
            continue
        mass += float(p0[c_0])
        for c_s in range(k + 1):
            out[c_s] += p0[c_0] * before[c_0, c_s] * jump[c_s, c_t] / whole[c_0, c_t]
    return out / mass


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_matrices_are_the_brute_products(kernel: str, k: int) -> None:
    labels = LabelDiffusion(k, kernel, KEEP)
    product = torch.eye(k + 1, dtype=torch.float64)
    for t in range(len(KEEP)):
        torch.testing.assert_close(labels.transition(t), brute_between(kernel, k, t - 1, t))
        product = product @ labels.transition(t)
        torch.testing.assert_close(labels.cumulative(t), product)
        torch.testing.assert_close(product.sum(dim=1), torch.ones(k + 1, dtype=torch.float64))
    assert torch.equal(labels.cumulative(-1), torch.eye(k + 1, dtype=torch.float64))


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
def test_the_long_product_of_a_real_schedule(kernel: str) -> None:
    labels = LabelDiffusion(3, kernel, keep_probabilities("sqrt_alphas_cumprod", cosine_alphas_cumprod(1000)))
    product = torch.eye(4, dtype=torch.float64)
    for t in range(1000):
        product = product @ labels.transition(t)
        if t % 111 == 0 or t == 999:
            torch.testing.assert_close(labels.cumulative(t), product, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_q_probs_are_rows_of_the_cumulative_matrix(kernel: str, k: int) -> None:
    labels = LabelDiffusion(k, kernel, KEEP)
    c0 = torch.arange(k + 1).repeat(len(KEEP), 1)
    found = labels.q_probs(c0, torch.arange(len(KEEP)))
    for t in range(len(KEEP)):
        torch.testing.assert_close(found[t].double(), labels.cumulative(t), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_q_sample_has_the_right_shares(kernel: str, k: int) -> None:
    """u on a fine even grid: the share of each state is its probability, up to the grid."""
    labels, grid = LabelDiffusion(k, kernel, KEEP), 20_000
    u = ((torch.arange(grid) + 0.5) / grid).expand(len(KEEP), grid)
    for c0 in range(k + 1):
        drawn = labels.q_sample(torch.full((len(KEEP), grid), c0), torch.arange(len(KEEP)), u)
        for t in range(len(KEEP)):
            share = drawn[t].bincount(minlength=k + 1) / grid
            torch.testing.assert_close(share.double(), labels.cumulative(t)[c0], rtol=0, atol=2e-4)


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
def test_q_sample_at_the_ends_of_u_and_keep(kernel: str) -> None:
    labels = LabelDiffusion(3, kernel, torch.tensor([1.0, 0.0], dtype=torch.float64))
    last = 1 - 2**-24
    u = torch.tensor([[0.0, 0.5, last]] * 2)
    drawn = labels.q_sample(torch.full((2, 3), 1), torch.tensor([0, 1]), u)
    assert drawn[0].tolist() == [1, 1, 1]
    assert drawn[1].tolist() == ([3, 3, 3] if kernel == "mask" else [0, 2, 3])


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_posterior_is_bayes_by_enumeration(kernel: str, k: int) -> None:
    labels = LabelDiffusion(k, kernel, KEEP)
    p0 = torch.rand(k + 1, k + 1, generator=torch.Generator().manual_seed(k)).double().softmax(dim=-1)
    for t in range(len(KEEP)):
        for s in range(-1, t):
            found = labels.posterior(torch.arange(k + 1), p0, t, s)
            for c_t in range(k + 1):
                expected = brute_posterior(kernel, k, c_t, p0[c_t], t, s)
                torch.testing.assert_close(found[c_t], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_posterior_of_a_soft_state_is_the_mean_over_hard_ones(kernel: str, k: int) -> None:
    labels = LabelDiffusion(k, kernel, KEEP)
    g = torch.Generator().manual_seed(k)
    state = torch.rand(5, k + 1, generator=g, dtype=torch.float64).softmax(dim=-1)
    p0 = torch.rand(5, k + 1, generator=g, dtype=torch.float64).softmax(dim=-1)
    for t, s in ((5, 2), (3, -1), (1, 0)):
        hard = [labels.posterior(torch.full((5,), c), p0, t, s) for c in range(k + 1)]
        expected = sum(state[:, c, None] * hard[c] for c in range(k + 1))
        torch.testing.assert_close(labels.posterior(state, p0, t, s), expected)


@pytest.mark.parametrize(("kernel", "k"), CASES)
def test_going_back_from_noise_gives_the_earlier_marginal(kernel: str, k: int) -> None:
    """sum over c_t of q(c_t|c_0) q(c_s|c_t,c_0) = q(c_s|c_0), the law that makes a sampler right."""
    labels = LabelDiffusion(k, kernel, KEEP)
    known = torch.eye(k + 1, dtype=torch.float64)  # one row a c_0: its own posterior
    for t, s in ((5, 0), (4, 3), (2, -1)):
        back = labels.posterior(labels.cumulative(t), known, t, s)
        torch.testing.assert_close(back, labels.cumulative(s))


def test_mask_posterior_by_hand() -> None:
    labels = LabelDiffusion(2, "mask", torch.tensor([0.8, 0.4], dtype=torch.float64))
    p0 = torch.tensor([0.5, 0.2, 0.3]).expand(2, 3)
    found = labels.posterior(torch.tensor([1, 2]), p0, 1, 0)
    reveal = (0.8 - 0.4) / (1 - 0.4)
    assert found[0].tolist() == [0, 1, 0]  # a label stays
    assert found[1].tolist() == pytest.approx([reveal * 0.5, reveal * 0.2, 1 - reveal + reveal * 0.3])
    assert labels.posterior(torch.tensor([1, 2]), p0, 0, -1)[1].tolist() == pytest.approx([0.5, 0.2, 0.3])


@pytest.mark.parametrize("kernel", ["mask", "uniform"])
@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_posterior_is_finite_at_the_ends_of_keep(kernel: str, keep: float) -> None:
    labels = LabelDiffusion(3, kernel, torch.full((4,), keep, dtype=torch.float64))
    p0 = torch.rand(4, 4).softmax(dim=-1)
    for t, s in ((3, 1), (2, -1)):
        found = labels.posterior(torch.arange(4), p0, t, s)
        torch.testing.assert_close(found.sum(dim=-1), torch.ones(4))
        assert (found >= 0).all()


def test_posterior_in_float32_over_the_real_schedule() -> None:
    for kernel in ("mask", "uniform"):
        labels = LabelDiffusion(10, kernel, keep_probabilities("alphas_cumprod", cosine_alphas_cumprod(1000)))
        p0 = torch.rand(11, 11, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
        for t, s in ((999, 949), (999, -1), (1, 0), (0, -1), (500, 499)):
            found = labels.posterior(torch.arange(11), p0, t, s)
            exact = labels.posterior(torch.arange(11), p0.double(), t, s)
            torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)
            torch.testing.assert_close(found.sum(dim=-1), torch.ones(11), rtol=0, atol=1e-6)


def test_keep_schedules_by_hand() -> None:
    ab = torch.tensor([0.81, 0.25, 0.01], dtype=torch.float64)
    assert keep_probabilities("sqrt_alphas_cumprod", ab).tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert keep_probabilities("alphas_cumprod", ab, power=2).tolist() == pytest.approx([0.6561, 0.0625, 0.0001])
    assert keep_probabilities("linear", ab).tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert keep_probabilities("linear", ab, minimum=0.4).tolist() == pytest.approx([2 / 3, 0.4, 0.4])
    assert keep_probabilities("constant", ab, const=0.3).tolist() == [0.3] * 3


def test_bad_settings_name_their_key() -> None:
    ab = KEEP
    with pytest.raises(ValueError, match="KEEP_PROB_SCHEDULE: 'cosine' is unknown; choose one of sqrt_"):
        keep_probabilities("cosine", ab)
    with pytest.raises(ValueError, match="KEEP_PROB_POWER: 0 must be above 0"):
        keep_probabilities("linear", ab, power=0)
    with pytest.raises(ValueError, match="KEEP_PROB_MIN: 1.5 is no probability"):
        keep_probabilities("linear", ab, minimum=1.5)
    with pytest.raises(ValueError, match="KEEP_PROB_CONST: -0.1 is no probability"):
        keep_probabilities("constant", ab, const=-0.1)
    with pytest.raises(ValueError, match="LABEL_D3PM_KERNEL: 'gauss' is unknown; choose one of mask, uniform"):
        LabelDiffusion(3, "gauss", ab)
    with pytest.raises(ValueError, match="needs s < t"):
        LabelDiffusion(3, "mask", ab).posterior(torch.tensor([1]), torch.full((1, 4), 0.25), 2, 2)
    with pytest.raises(ValueError, match=r"noise level 6 is outside -1\.\.5"):
        LabelDiffusion(3, "mask", ab).cumulative(6)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_x0_distribution_is_that_of_detectors_of_which_at_most_one_fires(k: int) -> None:
    logits = torch.randn(7, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    s = logits.sigmoid()
    events = []
    for fired in [*range(k), None]:
        terms = [s[:, j] if j == fired else 1 - s[:, j] for j in range(k)]
        events.append(torch.stack(terms).prod(dim=0))
    joint = torch.stack(events, dim=1)
    torch.testing.assert_close(x0_distribution(logits), joint / joint.sum(dim=1, keepdim=True))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(sum),
    st.floats(0, 1, exclude_max=True, width=32),
)
def test_inverse_cdf_against_a_loop(weights: list[int], u: float) -> None:
    point, state = u * sum(weights), 0
    total = weights[0]
    while point >= total:
        state += 1
        total += weights[state]
    drawn = int(sample_categorical(torch.tensor(weights, dtype=torch.float32), torch.tensor(u)))
    assert drawn == state and weights[drawn] > 0


def test_a_state_of_no_probability_is_never_drawn() -> None:
    last = torch.tensor([0.0, 1 - 2**-24])
    probs = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0]) / 3  # a sum that is not exactly one
    assert sample_categorical(probs.expand(2, 5), last).tolist() == [1, 3]
