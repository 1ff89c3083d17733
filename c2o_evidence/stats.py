"""The statistics of a table: means, deviations, t-intervals over train seeds, variance components, tests.

A `nan` among the values makes every result that uses it `nan`: an undefined run is never dropped in
silence. Too few values for a statistic give `nan` too, and the `refuse_…` functions say, with the figure, why
there is no result at this n; who shows a number asks them. Sums are exact (`math.fsum`), so results do not
depend on the order of the values. The examples are worked by hand; tests run them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2o_evidence.errors import EvidenceError

NAN = math.nan


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; nan for no values.

    >>> mean([1, 2, 6])  # 9 / 3
    3.0
    """
    return math.fsum(values) / len(values) if values else NAN


def std_pop(values: Sequence[float]) -> float:
    """Population standard deviation (divides by n); nan for no values, 0 for one.

    >>> std_pop([2, 4, 4, 4, 5, 5, 7, 9])  # mean 5, squares 9+1+1+1+0+0+4+16 = 32; sqrt(32 / 8)
    2.0
    """
    return math.sqrt(_squares(values) / len(values)) if values else NAN


def std_sample(values: Sequence[float]) -> float:
    """Sample standard deviation (divides by n - 1); nan for fewer than two values.

    >>> std_sample([1, 2, 3])  # squares 1+0+1; sqrt(2 / 2)
    1.0
    """
    return math.sqrt(_squares(values) / (len(values) - 1)) if len(values) > 1 else NAN


def _squares(values: Sequence[float]) -> float:
    if all(value == values[0] for value in values):
        return 0.0  # exact: rounding of the mean must not give equal runs a spread
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t with `df` >= 1 degrees of freedom.

    >>> round(t_quantile(0.975, 1), 3)  # df 1 is Cauchy's: tan(pi (0.975 - 0.5))
    12.706
    """
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Two-sided Student-t interval of the mean, `mean ± t * s / sqrt(n)`; (nan, nan) for fewer than two
    values.

    Meant for one value a TRAIN seed (its mean over eval seeds): eval seeds of one checkpoint are not
    independent.

    >>> [round(end, 3) for end in t_interval([1, 2, 3])]  # 2 ± t s / sqrt(3), t(0.975, 2) = 4.3027, s = 1
    [-0.484, 4.484]
    """
    if len(values) < 2:
        return NAN, NAN
    half = t_quantile(0.5 + level / 2, len(values) - 1) * std_sample(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


@dataclass(frozen=True)
class VarianceComponents:
    """One-way random effects y_ij = mu + a_i + e_ij: the variances of a (groups) and e (within a group).

    Attributes:
        between: variance component between groups (train seeds), >= 0.
        within: variance component within a group (eval seeds); nan where no group has two values.
        between_raw: the unbiased estimate before it was cut off at 0.
        groups, values: how many there are.
    """

    between: float
    within: float
    between_raw: float
    groups: int
    values: int


def variance_components(groups: Sequence[Sequence[float]]) -> VarianceComponents:
    """ANOVA (method of moments) estimates of the components, for groups of equal or unequal size.

    between = (MSB - MSW) / n0 with n0 = (N - sum(n_i^2) / N) / (k - 1) (Searle, Casella, McCulloch 1992,
    ch. 3). A component that has no degrees of freedom is nan; empty groups do not count.

    >>> parts = variance_components([[1, 3], [5, 7]])  # MSW = 4 / 2; MSB = 2 (4 + 4) / 1 = 16; n0 = 2
    >>> parts.within, parts.between  # 2, (16 - 2) / 2
    (2.0, 7.0)
    """
    groups = [group for group in groups if len(group)]
    sizes = [len(group) for group in groups]
    total, count = sum(sizes), len(groups)
    within = math.fsum(_squares(group) for group in groups) / (total - count) if total > count else NAN
    if count < 2:
        return VarianceComponents(NAN, within, NAN, count, total)
    centre = mean([value for group in groups for value in group])
    msb = math.fsum(len(group) * (mean(group) - centre) ** 2 for group in groups) / (count - 1)
    n0 = (total - math.fsum(size * size for size in sizes) / total) / (count - 1)
    raw = (msb - within) / n0
    return VarianceComponents(max(raw, 0.0) if raw == raw else NAN, within, raw, count, total)


@dataclass(frozen=True)
class PairedT:
    """A paired t test of a - b over train seeds; `t` and `p` are nan where the differences do not vary."""

    n: int
    mean_a: float
    mean_b: float
    mean_diff: float
    std_diff: float
    ci_low: float
    ci_high: float
    wins: int
    t: float
    df: int
    p: float

    @property
    def verdict(self) -> str:
        """`yes`: the interval of the difference is above 0; `no`: below; `undecided`: holds 0 or is nan.

        >>> paired_t({0: [3.0], 1: [5.0]}, {0: [2.0], 1: [4.0]}).verdict  # 1 and 1: no spread, interval 1 to 1
        'yes'
        """
        return "yes" if self.ci_low > 0 else "no" if self.ci_high < 0 else "undecided"


def paired_t(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]], level: float = 0.95) -> PairedT:
    """Compare two rows of a table, paired over train seeds.

    Args:
        a, b: train seed -> values over its eval seeds; their mean is that train seed's one value.

    Raises:
        EvidenceError: the train seeds differ, or a seed has no value.

    >>> test = paired_t({0: [2, 4], 1: [5], 2: [10]}, {0: [2], 1: [3], 2: [7]})  # differences 1, 2, 3: s = 1
    >>> test.mean_diff, test.df, round(test.t, 4), round(test.p, 4)  # t = 2 sqrt(3); df 2: p = 1 - t / sqrt(t^2 + 2)
    (2.0, 2, 3.4641, 0.0742)
    """
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise EvidenceError(
            f"paired comparison: train seeds {odd} are in one row only; evaluate both on the same seeds"
        )
    _need_values("paired comparison", a, b)
    seeds = sorted(a)
    means_a, means_b = [mean(a[seed]) for seed in seeds], [mean(b[seed]) for seed in seeds]
    diffs = [x - y for x, y in zip(means_a, means_b, strict=True)]
    low, high = t_interval(diffs, level)
    spread, n = std_sample(diffs), len(diffs)
    t = mean(diffs) / (spread / math.sqrt(n)) if n > 1 and spread > 0 else NAN
    return PairedT(
        n=n,
        mean_a=mean(means_a),
        mean_b=mean(means_b),
        mean_diff=mean(diffs),
        std_diff=spread,
        ci_low=low,
        ci_high=high,
        wins=sum(diff > 0 for diff in diffs),
        t=t,
        df=max(n - 1, 0),
        p=_two_sided(t, n - 1),
    )


@dataclass(frozen=True)
class WelchT:
    """Welch's t test of two independent groups of train seeds; `t` and `p` are nan where nothing varies."""

    n_a: int
    n_b: int
    mean_a: float
    mean_b: float
    mean_diff: float
    ci_low: float
    ci_high: float
    t: float
    df: float
    p: float


def welch_t(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]], level: float = 0.95) -> WelchT:
    """Compare two rows whose trainings have nothing in common (not the same train seeds, or not the same start).

    t = (mean_a - mean_b) / sqrt(v_a + v_b) with v = s^2 / n;
    df = (v_a + v_b)^2 / (v_a^2 / (n_a - 1) + v_b^2 / (n_b - 1)) (Welch 1947).
    Where the same train seeds were run, `paired_t` sees more.

    Raises:
        EvidenceError: a seed has no value.

    >>> test = welch_t({0: [1], 1: [3]}, {0: [5], 1: [7]})  # s^2 = 2 in both: v = 1; t = -4 / sqrt(2), df = 4 / 2
    >>> test.mean_diff, test.df, round(test.t, 4), round(test.p, 4)  # df 2: p = 1 - |t| / sqrt(t^2 + 2)
    (-4.0, 2.0, -2.8284, 0.1056)
    """
    _need_values("comparison", a, b)
    sides = [[mean(side[seed]) for seed in sorted(side)] for side in (a, b)]
    centres = [mean(side) for side in sides]
    shares = [std_sample(side) ** 2 / len(side) if side else NAN for side in sides]
    error, diff = math.fsum(shares), centres[0] - centres[1]
    df, t, half = NAN, NAN, NAN
    if error > 0:
        df = error**2 / math.fsum(v * v / (len(side) - 1) for v, side in zip(shares, sides, strict=True))
        t, half = diff / math.sqrt(error), t_quantile(0.5 + level / 2, df) * math.sqrt(error)
    low, high = diff - half, diff + half
    return WelchT(len(a), len(b), centres[0], centres[1], diff, low, high, t, df, _two_sided(t, df))


def _need_values(what: str, *sides: Mapping[int, Sequence[float]]) -> None:
    for side in sides:
        for seed, values in side.items():
            if not values:
                raise EvidenceError(f"{what}: train seed {seed} has no value; evaluate it")


def _two_sided(t: float, df: float) -> float:
    if math.isnan(t):
        return NAN
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def smallest_p(test: str, n: int, m: int | None = None) -> float:
    """The smallest two-sided p a rank test can reach without ties, at most 1.

    Args:
        test: `wilcoxon` (signed ranks of n pairs: 2 / 2^n) or `mann-whitney` (n against m values, default m
            = n: 2 / C(n + m, n)).

    Raises:
        EvidenceError: another test.

    >>> smallest_p("wilcoxon", 5), round(smallest_p("mann-whitney", 5), 4)  # 2 of 2^5 signs; 2 of C(10, 5) = 252 splits
    (0.0625, 0.0079)
    """
    if test == "wilcoxon":
        return min(1.0, 2.0 ** (1 - n))
    if test == "mann-whitney":
        return min(1.0, 2.0 / math.comb(n + (n if m is None else m), n))
    raise EvidenceError(f"test: {test!r} is unknown; known: wilcoxon, mann-whitney")


def refuse_test(test: str, n: int, m: int | None = None, alpha: float = 0.05) -> str | None:
    """Why a rank test is not worth running at this n, or None when it can reach p < alpha.

    >>> refuse_test("wilcoxon", 5)  # 2 / 2^5
    'wilcoxon: refused, its smallest two-sided p at n = 5 is 0.0625, not below 0.05'
    >>> refuse_test("wilcoxon", 6) is None  # 2 / 2^6 = 0.03125
    True
    """
    least = smallest_p(test, n, m)
    if least < alpha:
        return None
    size = f"n = {n}" if m is None else f"n = {n} and {m}"
    return f"{test}: refused, its smallest two-sided p at {size} is {least:.4g}, not below {alpha:g}"


def rank_test(test: str, a: Sequence[float], b: Sequence[float]) -> float:
    """The exact two-sided p of `wilcoxon` (pairs a[i], b[i]) or `mann-whitney` (a against b), one value a train seed.

    Raises:
        EvidenceError: the test cannot reach p < 0.05 at this n, a value is nan, or ties leave no exact p.

    >>> rank_test("wilcoxon", [2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])  # all differences above 0: 2 / 2^6
    0.03125
    """
    paired = test == "wilcoxon"
    if reason := refuse_test(test, len(a), None if paired else len(b)):
        raise EvidenceError(reason)
    values = [abs(x - y) for x, y in zip(a, b, strict=True)] if paired else [*a, *b]
    if any(math.isnan(value) for value in values):
        raise EvidenceError(f"{test}: refused, a value is nan")
    if len(set(values)) < len(values) or (paired and 0 in values):
        raise EvidenceError(f"{test}: refused, tied values have no exact p; use the t test")
    from scipy import stats as scipy_stats

    if paired:
        return float(scipy_stats.wilcoxon(a, b, method="exact").pvalue)
    return float(scipy_stats.mannwhitneyu(a, b, method="exact").pvalue)


def refuse_interval(n: int, what: str = "95 % interval") -> str | None:
    """Why n train seeds carry no t interval or t test, or None where they do.

    >>> refuse_interval(1)
    '95 % interval: refused, n = 1 train seed leaves 0 degrees of freedom; 2 or more are needed'
    >>> refuse_interval(2) is None  # one degree of freedom: t is 12.7, so the interval is wide, but it holds
    True
    """
    if n > 1:
        return None
    seeds = "1 train seed leaves" if n == 1 else f"{n} train seeds leave"
    return f"{what}: refused, n = {seeds} 0 degrees of freedom; 2 or more are needed"


def refuse_split(sizes: Sequence[int]) -> str | None:
    """Why groups of these sizes (eval seeds of each train seed) cannot be split into two variances, or None.

    >>> refuse_split([5])
    'variance split: refused, 1 train seed leaves 0 degrees of freedom between train seeds; 2 or more are needed'
    >>> refuse_split([1, 1])
    'variance split: refused, 2 runs of 2 train seeds leave 0 degrees of freedom between eval seeds; add eval seeds'
    >>> refuse_split([2, 1]) is None  # one degree of freedom each
    True
    """
    counted = [size for size in sizes if size]
    seeds = f"{len(counted)} train seed" + ("" if len(counted) == 1 else "s")
    verb = "leaves" if len(counted) == 1 else "leave"
    if len(counted) < 2:
        return f"variance split: refused, {seeds} {verb} 0 degrees of freedom between train seeds; 2 or more are needed"
    if sum(counted) == len(counted):
        runs = f"{sum(counted)} runs of {seeds}"
        return f"variance split: refused, {runs} leave 0 degrees of freedom between eval seeds; add eval seeds"
    return None


# What share of 95 % percentile-bootstrap intervals of a mean holds it, for normal values, by n: simulated (n <= 7 with
# every resample there is, above with 1,000 of them; standard error at most 0.003). A test repeats n = 3 and 5.
BOOTSTRAP_COVERAGE = {
    2: 0.501, 3: 0.749, 4: 0.799, 5: 0.839, 6: 0.860, 7: 0.875, 8: 0.886, 10: 0.900, 15: 0.920, 20: 0.928, 30: 0.933
}  # fmt: skip
BOOTSTRAP_LEAST = 0.9


def bootstrap_coverage(n: int) -> float:
    """What a 95 % percentile bootstrap of n values covers: of the largest simulated n that is not above.

    >>> bootstrap_coverage(5), bootstrap_coverage(9)  # of 5, of 8
    (0.839, 0.886)
    """
    return max((cover for size, cover in BOOTSTRAP_COVERAGE.items() if size <= n), default=0.0)


def refuse_bootstrap(n: int) -> str | None:
    """Why n train seeds carry no percentile bootstrap, or None where it covers BOOTSTRAP_LEAST or more.

    >>> refuse_bootstrap(5)
    'percentile bootstrap: refused, at n = 5 its 95 % interval covers about 84 %; use the t interval'
    """
    cover = bootstrap_coverage(n)
    if cover >= BOOTSTRAP_LEAST:
        return None
    told = f"its 95 % interval covers about {100 * cover:.0f} %" if cover else "there is nothing to draw from"
    return f"percentile bootstrap: refused, at n = {n} {told}; use the t interval"


def bootstrap_interval(values: Sequence[float], resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of the mean; the same values give the same interval.

    Raises:
        EvidenceError: there are too few values for it (see `refuse_bootstrap`).

    >>> bootstrap_interval([3.0] * 10)  # every resample has the mean 3
    (3.0, 3.0)
    """
    if reason := refuse_bootstrap(len(values)):
        raise EvidenceError(reason)
    import numpy as np

    drawn = np.random.default_rng(seed).choice(np.sort(np.asarray(values, float)), (resamples, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
