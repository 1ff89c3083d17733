"""Statistics against cases worked by hand, printed tables, and independent implementations."""

import doctest
import inspect
import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence import stats
from c2o_evidence.errors import EvidenceError
from c2o_evidence.stats import (
    BOOTSTRAP_COVERAGE,
    bootstrap_coverage,
    bootstrap_interval,
    mean,
    paired_t,
    rank_test,
    refuse_bootstrap,
    refuse_interval,
    refuse_split,
    refuse_test,
    smallest_p,
    std_pop,
    std_sample,
    t_interval,
    t_quantile,
    variance_components,
    welch_t,
)

VALUES = st.lists(st.floats(0, 100), min_size=2, max_size=8)


def test_mean_and_deviations_by_hand():
    # 2, 4, 4, 4, 5, 5, 7, 9: mean 5, squares 9+1+1+1+0+0+4+16 = 32
    values = [2, 4, 4, 4, 5, 5, 7, 9]
    assert mean(values) == 5
    assert std_pop(values) == 2
    assert std_sample(values) == math.sqrt(32 / 7)


def test_too_few_values():
    assert math.isnan(mean([])) and math.isnan(std_pop([])) and math.isnan(std_sample([3.0]))
    assert std_pop([3.0]) == 0
    assert all(map(math.isnan, t_interval([3.0])))


def test_nan_is_never_dropped():
    values = [1.0, math.nan, 2.0]
    assert all(map(math.isnan, [mean(values), std_pop(values), std_sample(values), *t_interval(values)]))
    components = variance_components([[1.0, math.nan], [2.0, 3.0]])
    assert math.isnan(components.between) and math.isnan(components.within)


@given(VALUES, st.randoms())
def test_agree_with_the_standard_library_in_any_order(values, rng):
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert mean(values) == mean(shuffled) and std_pop(values) == std_pop(shuffled)
    assert mean(values) == pytest.approx(statistics.fmean(values))
    assert std_pop(values) == pytest.approx(statistics.pstdev(values), abs=1e-9)
    assert std_sample(values) == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_equal_values_have_no_spread_at_all():
    assert std_pop([0.1] * 7) == 0 and std_sample([0.1] * 7) == 0


@pytest.mark.parametrize(("df", "quantile"), [(1, 12.706), (4, 2.776), (9, 2.262), (24, 2.064), (120, 1.980)])
def test_quantiles_of_the_printed_table(df, quantile):
    assert t_quantile(0.975, df) == pytest.approx(quantile, abs=5e-4)


def test_t_interval_by_hand():
    # mean 3, s = sqrt(2.5), s / sqrt(5) = sqrt(0.5); t(0.975, 4) = 2.7764451
    low, high = t_interval([1, 2, 3, 4, 5])
    half = 2.7764451051977987 * math.sqrt(0.5)
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-12)


def test_t_interval_covers_what_it_says():
    # Exactly 95 % for normal values, whatever n: 2,000 samples of five, standard error 0.5 %.
    import random

    rng = random.Random(7)
    hits = 0
    for _ in range(2000):
        low, high = t_interval([rng.gauss(0, 1) for _ in range(5)])
        hits += low <= 0 <= high
    assert 0.935 <= hits / 2000 <= 0.965


def test_components_by_hand_balanced():
    # groups (1, 3), (5, 7), (9, 11): within each SS 2, MSW = 6 / 3 = 2; group means 2, 6, 10 around 6:
    # SSB = 2 (16 + 0 + 16) = 64, MSB = 32; between = (32 - 2) / 2 = 15.
    result = variance_components([[1, 3], [5, 7], [9, 11]])
    assert (result.between, result.within, result.groups, result.values) == (15, 2, 3, 6)


def test_components_by_hand_unbalanced():
    # groups (1, 3), (8): grand mean 4, MSW = 2 / 1 = 2; SSB = 2 (2 - 4)^2 + (8 - 4)^2 = 24, MSB = 24;
    # n0 = 3 - 5 / 3 = 4 / 3; between = (24 - 2) / (4 / 3) = 16.5.
    result = variance_components([[1, 3], [8]])
    assert result.within == 2
    assert result.between == pytest.approx(16.5, rel=1e-12)


def test_a_negative_estimate_is_cut_off_and_kept():
    # Equal group means: MSB = 0, MSW = 2, n0 = 2, raw = -1.
    result = variance_components([[1, 3], [1, 3]])
    assert (result.between, result.between_raw, result.within) == (0, -1, 2)


def test_components_that_cannot_be_estimated():
    one_group = variance_components([[1, 3]])
    assert math.isnan(one_group.between) and one_group.within == 2
    singles = variance_components([[1], [3]])
    assert math.isnan(singles.between) and math.isnan(singles.within)
    assert variance_components([[], [1, 3]]).groups == 1


def test_components_recover_a_known_model():
    import random

    rng = random.Random(3)
    groups = []
    for _ in range(4000):
        shift = rng.gauss(0, 2)
        groups.append([shift + rng.gauss(0, 1) for _ in range(rng.choice([2, 3, 5]))])
    result = variance_components(groups)
    assert result.between == pytest.approx(4, rel=0.08)
    assert result.within == pytest.approx(1, rel=0.04)


def test_paired_t_by_hand():
    # Means over eval seeds: a = 3, 5, 10; b = 2, 3, 7: differences 1, 2, 3, mean 2, s = 1,
    # t = 2 sqrt(3), df 2. For df = 2 the two-sided p is 1 - t / sqrt(t^2 + 2).
    a = {0: [2, 4], 1: [5], 2: [9, 10, 11]}
    b = {2: [7], 0: [1, 3], 1: [3, 3]}
    result = paired_t(a, b)
    assert (result.n, result.mean_diff, result.std_diff, result.wins, result.df) == (3, 2, 1, 3, 2)
    assert (result.mean_a, result.mean_b) == (6, 4)
    assert result.t == pytest.approx(2 * math.sqrt(3), rel=1e-12)
    assert result.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-9)
    half = t_quantile(0.975, 2) / math.sqrt(3)
    assert (result.ci_low, result.ci_high) == pytest.approx((2 - half, 2 + half))
    assert result.verdict == "undecided"


def test_p_and_interval_agree():
    pytest.importorskip("scipy")
    from scipy.stats import ttest_rel

    a = {s: [v] for s, v in enumerate([48.1, 49.0, 47.7, 48.8, 48.4])}
    b = {s: [v] for s, v in enumerate([47.0, 48.2, 47.1, 47.5, 47.9])}
    result = paired_t(a, b)
    reference = ttest_rel([v[0] for v in a.values()], [v[0] for v in b.values()])
    assert (result.t, result.p) == pytest.approx((reference.statistic, reference.pvalue))
    assert result.p < 0.05 and result.verdict == "yes"
    assert paired_t(b, a).verdict == "no"
    assert paired_t(b, a).t == pytest.approx(-result.t)


def test_differences_without_spread_have_no_t():
    same = paired_t({0: [2.0], 1: [3.0]}, {0: [1.0], 1: [2.0]})
    assert math.isnan(same.t) and math.isnan(same.p) and (same.ci_low, same.ci_high) == (1, 1)
    single = paired_t({0: [2.0]}, {0: [1.0]})
    assert math.isnan(single.p) and single.verdict == "undecided" and single.df == 0


def test_pairs_must_fit():
    with pytest.raises(
        EvidenceError, match=r"paired comparison: train seeds \[1, 2\] are in one row only; evaluate both"
    ):
        paired_t({0: [1], 1: [1]}, {0: [1], 2: [1]})
    with pytest.raises(EvidenceError, match="train seed 0 has no value; evaluate it"):
        paired_t({0: []}, {0: [1]})


@pytest.mark.parametrize(
    ("test", "n", "expected"),
    [
        ("wilcoxon", 5, 0.0625),
        ("wilcoxon", 6, 0.03125),
        ("mann-whitney", 5, 2 / 252),
        ("mann-whitney", 3, 0.1),
    ],
)
def test_smallest_p(test, n, expected):
    assert smallest_p(test, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_smallest_p_is_what_the_exact_tests_reach(n):
    scipy_stats = pytest.importorskip("scipy.stats")
    low, high = list(range(1, n + 1)), [100 + 3**i for i in range(n)]
    differences = [b - a for a, b in zip(low, high, strict=True)]
    assert scipy_stats.wilcoxon(differences, method="exact").pvalue == pytest.approx(smallest_p("wilcoxon", n))
    exact = scipy_stats.mannwhitneyu(low, high, method="exact").pvalue
    assert exact == pytest.approx(smallest_p("mann-whitney", n))


def test_refusal_names_the_figure():
    assert refuse_test("wilcoxon", 5) == (
        "wilcoxon: refused, its smallest two-sided p at n = 5 is 0.0625, not below 0.05"
    )
    assert refuse_test("mann-whitney", 5) is None
    assert refuse_test("wilcoxon", 6) is None
    assert "n = 2 and 3 is 0.2" in (refuse_test("mann-whitney", 2, 3) or "")
    with pytest.raises(EvidenceError, match="test: 't' is unknown; known: wilcoxon, mann-whitney"):
        refuse_test("t", 5)


def test_every_public_function_has_an_example_and_it_holds():
    finder = doctest.DocTestFinder(recurse=True)
    examples = {test.name.removeprefix("c2o_evidence.stats."): test for test in finder.find(stats)}
    public = [name for name, item in vars(stats).items() if inspect.isfunction(item) and not name.startswith("_")]
    public = [name for name in public if vars(stats)[name].__module__ == stats.__name__]
    assert len(public) >= 15
    assert [name for name in public if not examples[name].examples] == []
    runner = doctest.DocTestRunner(verbose=False)
    for test in examples.values():
        runner.run(test)
    assert runner.failures == 0 and runner.tries >= len(public)


def test_welch_by_hand_and_against_scipy():
    # a = 1, 3: mean 2, s^2 2, v 1. b = 4, 6, 8: mean 6, s^2 4, v 4/3. t = -4 / sqrt(7/3),
    # df = (7/3)^2 / (1/1 + (16/9)/2) = (49/9) / (17/9) = 49/17.
    result = welch_t({0: [0, 2], 1: [3]}, {5: [4], 6: [6], 7: [8, 8]})
    assert (result.n_a, result.n_b, result.mean_a, result.mean_b, result.mean_diff) == (2, 3, 2, 6, -4)
    assert result.t == pytest.approx(-4 / math.sqrt(7 / 3), rel=1e-12)
    assert result.df == pytest.approx(49 / 17, rel=1e-12)
    from scipy.stats import ttest_ind

    reference = ttest_ind([1, 3], [4, 6, 8], equal_var=False)
    assert result.p == pytest.approx(reference.pvalue, rel=1e-9)
    interval = reference.confidence_interval(0.95)
    assert (result.ci_low, result.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_welch_without_spread_or_with_one_seed_has_no_p():
    for a, b in (({0: [1.0]}, {1: [2.0]}), ({0: [1.0], 1: [1.0]}, {0: [2.0], 1: [2.0]})):
        result = welch_t(a, b)
        assert math.isnan(result.p) and math.isnan(result.ci_low)
    with pytest.raises(EvidenceError, match="^comparison: train seed 3 has no value; evaluate it$"):
        welch_t({0: [1.0]}, {3: []})


def signed_ranks(differences):
    """W+ of every assignment of signs: the exact p by brute force."""
    order = sorted(range(len(differences)), key=lambda i: abs(differences[i]))
    ranks = {index: rank for rank, index in enumerate(order, start=1)}
    seen = sum(ranks[i] for i, value in enumerate(differences) if value > 0)
    every = [
        sum(rank for rank, sign in zip(ranks.values(), signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(differences))
    ]
    below, above = sum(w <= seen for w in every), sum(w >= seen for w in every)
    return min(1.0, 2 * min(below, above) / len(every))


def test_wilcoxon_is_exact():
    a, b = [5.1, 4.0, 6.2, 7.7, 3.3, 9.0, 8.4], [4.0, 4.3, 5.0, 5.6, 3.1, 7.5, 8.8]
    assert rank_test("wilcoxon", a, b) == pytest.approx(signed_ranks([x - y for x, y in zip(a, b, strict=True)]))


def test_mann_whitney_is_exact():
    # 4 against 4 with one inversion: U = 1; 1 + 1 of the C(8, 4) = 70 splits have U <= 1, twice for two sides.
    assert rank_test("mann-whitney", [1, 2, 3, 5], [4, 6, 7, 8]) == pytest.approx(2 * 2 / 70)


@pytest.mark.parametrize(
    ("test", "a", "b", "message"),
    [
        ("wilcoxon", [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], "smallest two-sided p at n = 5 is 0.0625, not below 0.05"),
        ("mann-whitney", [1, 2, 3], [4, 5, 6], "mann-whitney: refused, .* at n = 3 and 3 is 0.1"),
        ("wilcoxon", [1, 2, 3, 4, 5, 6], [0, 1, 0, 0, 0, 0], "wilcoxon: refused, tied values have no exact p"),
        ("wilcoxon", [1, 2, 3, 4, 5, 7], [1, 0, 0, 0, 0, 0], "wilcoxon: refused, tied values"),
        ("mann-whitney", [1, 2, 3, math.nan], [4, 5, 6, 7], "mann-whitney: refused, a value is nan"),
    ],
)
def test_rank_tests_that_cannot_be(test, a, b, message):
    with pytest.raises(EvidenceError, match=message):
        rank_test(test, a, b)


def test_what_n_cannot_carry_is_refused_with_the_figure():
    assert "n = 0 train seeds leave 0 degrees of freedom" in (refuse_interval(0) or "")
    assert refuse_interval(1, "paired t test") == (
        "paired t test: refused, n = 1 train seed leaves 0 degrees of freedom; 2 or more are needed"
    )
    assert refuse_split([0, 5, 0]) == refuse_split([5]) and "0 train seeds leave" in (refuse_split([]) or "")
    assert refuse_split([5, 5]) is None
    with pytest.raises(EvidenceError, match="at n = 5 its 95 % interval covers about 84 %; use the t interval"):
        bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert "n = 1 there is nothing to draw from" in (refuse_bootstrap(1) or "")
    assert refuse_bootstrap(9) and refuse_bootstrap(10) is None and refuse_bootstrap(1000) is None
    assert bootstrap_coverage(1000) == BOOTSTRAP_COVERAGE[30]


def all_resamples(n):
    """Every way to draw n of n with replacement, as weights, with its probability."""
    counts = [c for c in itertools.product(range(n + 1), repeat=n) if sum(c) == n]
    ways = [math.factorial(n) / math.prod(map(math.factorial, c)) / n**n for c in counts]
    return counts, ways


@pytest.mark.parametrize("n", [3, 5])
def test_the_coverage_figures_are_those_of_an_independent_simulation(n):
    # 12,000 normal samples with every resample there is, and the t interval of the same samples (95 % exactly):
    # standard errors sqrt(.84 * .16 / 12000) = 0.0033 and 0.002; four of them are allowed.
    import numpy as np

    counts, ways = all_resamples(n)
    samples = np.random.default_rng(11).normal(size=(12_000, n))
    means = samples @ np.array(counts).T / n
    order = np.argsort(means, axis=1)
    ordered, reached = np.take_along_axis(means, order, 1), np.cumsum(np.array(ways)[order], axis=1)
    low, high = (
        np.take_along_axis(ordered, (reached >= p - 1e-12).argmax(1)[:, None], 1)[:, 0] for p in (0.025, 0.975)
    )
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(bootstrap_coverage(n), abs=0.0165)
    half = t_quantile(0.975, n - 1) * samples.std(axis=1, ddof=1) / math.sqrt(n)
    assert (abs(samples.mean(axis=1)) <= half).mean() == pytest.approx(0.95, abs=0.008)


def test_bootstrap_interval_against_the_normal_one():
    # Mean 10.5; the bootstrap's standard error is the population deviation over sqrt(n): sqrt(33.25 / 20).
    values = [float(v) for v in range(1, 21)]
    low, high = bootstrap_interval(values)
    half = 1.96 * math.sqrt(33.25 / 20)
    assert (low, high) == pytest.approx((10.5 - half, 10.5 + half), abs=0.12)
    assert bootstrap_interval(values[::-1]) == (low, high)
