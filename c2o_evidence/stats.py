"""The statistics of a table: means, deviations, t-intervals over train seeds, variance components, paired
tests.

A `nan` among the values makes every result that uses it `nan`: an undefined run is never dropped in
silence. Too few values for a statistic give `nan` too. Sums are exact (`math.fsum`), so results do not
depend on the order of the values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2o_evidence.errors import EvidenceError

NAN = math.nan


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; nan for no values. `mean([1, 2, 6]) == 3`."""
    return math.fsum(values) / len(values) if values else NAN


def std_pop(values: Sequence[float]) -> float:
    """Population standard deviation (divides by n); nan for no values, 0 for one."""
    return math.sqrt(_squares(values) / len(values)) if values else NAN


def std_sample(values: Sequence[float]) -> float:
    """Sample standard deviation (divides by n - 1); nan for fewer than two values."""
    return math.sqrt(_squares(values) / (len(values) - 1)) if len(values) > 1 else NAN


def _squares(values: Sequence[float]) -> float:
    if all(value == values[0] for value in values):
        return 0.0  # exact: rounding of the mean must not give equal runs a spread
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t with `df` >= 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Two-sided Student-t interval of the mean, `mean ± t * s / sqrt(n)`; (nan, nan) for fewer than two
    values.

    Meant for one value a TRAIN seed (its mean over eval seeds): eval seeds of one checkpoint are not
    independent.
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
        """`yes`: the interval of the difference is above 0; `no`: below; `undecided`: holds 0 or is nan."""
        return "yes" if self.ci_low > 0 else "no" if self.ci_high < 0 else "undecided"


def paired_t(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]], level: float = 0.95) -> PairedT:
    """Compare two rows of a table, paired over train seeds.

    Args:
        a, b: train seed -> values over its eval seeds; their mean is that train seed's one value.

    Raises:
        EvidenceError: the train seeds differ, or a seed has no value.
    """
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise EvidenceError(
            f"paired comparison: train seeds {odd} are in one row only; evaluate both on the same seeds"
        )
    for side in (a, b):
        for seed, values in side.items():
            if not values:
                raise EvidenceError(f"paired comparison: train seed {seed} has no value; evaluate it")
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
    """
    if test == "wilcoxon":
        return min(1.0, 2.0 ** (1 - n))
    if test == "mann-whitney":
        return min(1.0, 2.0 / math.comb(n + (n if m is None else m), n))
    raise EvidenceError(f"test: {test!r} is unknown; known: wilcoxon, mann-whitney")


def refuse_test(test: str, n: int, m: int | None = None, alpha: float = 0.05) -> str | None:
    """Why a rank test is not worth running at this n, or None when it can reach p < alpha.

    `refuse_test("wilcoxon", 5)` names 0.0625; `refuse_test("mann-whitney", 5)` is None (0.0079).
    """
    least = smallest_p(test, n, m)
    if least < alpha:
        return None
    size = f"n = {n}" if m is None else f"n = {n} and {m}"
    return f"{test}: refused, its smallest two-sided p at {size} is {least:.4g}, not below {alpha:g}"


@dataclass(frozen=True)
class WelchT:
    """Welch's t test of mean b - mean a; `t` and `p` are nan where neither side varies, all is nan below two values."""

    n_a: int
    n_b: int
    mean_diff: float
    ci_low: float
    ci_high: float
    t: float
    df: float
    p: float


def welch_t(
    a: tuple[float, float, int], b: tuple[float, float, int], level: float = 0.95
) -> WelchT:
    """Compare two means of unpaired values without taking their variances for equal.

    Args:
        a, b: mean, sample standard deviation and number of the values (one a train seed).
    """
    (mean_a, std_a, n_a), (mean_b, std_b, n_b) = a, b
    diff = mean_b - mean_a
    if n_a < 2 or n_b < 2:
        return WelchT(n_a, n_b, diff, NAN, NAN, NAN, NAN, NAN)
    part_a, part_b = std_a**2 / n_a, std_b**2 / n_b
    error = math.sqrt(part_a + part_b)
    if not error > 0:
        return WelchT(n_a, n_b, diff, diff, diff, NAN, NAN, NAN) if error == 0 else WelchT(n_a, n_b, diff, *[NAN] * 5)
    # Welch-Satterthwaite
    df = (part_a + part_b) ** 2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1))
    half = t_quantile(0.5 + level / 2, df) * error
    return WelchT(n_a, n_b, diff, diff - half, diff + half, diff / error, df, _two_sided(diff / error, df))
