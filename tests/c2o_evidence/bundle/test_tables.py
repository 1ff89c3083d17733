"""The tables against numbers worked out by hand or by numpy and scipy, from runs made up here."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from c2o_evidence.errors import TableError
from c2o_evidence.suite import Comparison, Speedup, load_suite
from c2o_evidence.tables import build_all, build_comparisons, build_main, build_summary, read_runs, verdict
from c2o_evidence.tables.text import interval, latex_escape, number, p_value, summary_latex

VALUES = {"base_1": [[60.0, 62.0], [61.0, 65.0]], "student_1": [[66.0, 70.0], [65.0, 67.0]]}


def runs(values: dict[str, list[list[float]]]) -> list[dict]:
    rows = []
    for exp_id, groups in values.items():
        for train_seed, group in enumerate(groups):
            for eval_seed, ap in enumerate(group):
                row = {"exp_name": exp_id, "train_seed": train_seed, "eval_seed": eval_seed, "AP": ap}
                rows.append(row | {"AP50": ap + 10, "AP75": ap - 10, "APs": math.nan, "APm": ap, "APl": ap})
    return rows


def timing(exp_id: str, seconds: float, hardware: str = "a" * 12) -> dict:
    row = {"exp_id": exp_id, "train_seed": 0, "inference_s_per_img": seconds, "inference_fps": 1 / seconds}
    return row | {"hardware_id": hardware, "hardware": "CPU"}


def test_summary_against_numpy_and_scipy(built: Path) -> None:
    suite = load_suite("toy", built)
    rows = {row["exp_id"]: row for row in build_summary(suite, runs(VALUES), [timing("base_1", 0.25)])}
    row = rows["base_1"]
    flat, means = np.array(VALUES["base_1"]).ravel(), np.array(VALUES["base_1"]).mean(axis=1)
    assert row["n_runs"] == 4 and row["n_train_seeds"] == 2 and row["n_eval_seeds"] == 2
    assert row["mean_AP"] == pytest.approx(flat.mean(), abs=1e-12)
    assert row["std_AP_pop"] == pytest.approx(flat.std(), abs=1e-12)
    assert row["std_AP_sample"] == pytest.approx(flat.std(ddof=1), abs=1e-12)
    assert row["std_AP_train_seeds"] == pytest.approx(means.std(ddof=1), abs=1e-12)
    low, high = scipy_stats.t.interval(0.95, 1, means.mean(), scipy_stats.sem(means))
    assert (row["ci95_low"], row["ci95_high"]) == pytest.approx((low, high), rel=1e-9)
    # By hand: MSW = (2 + 8) / 2 = 5, MSB = 2 * ((61-62)^2 + (63-62)^2) = 4, (4 - 5) / 2 < 0 -> 0.
    assert row["std_within_eval"] == pytest.approx(math.sqrt(5)) and row["std_between_train"] == 0.0
    assert row["mean_AP50"] == row["mean_AP"] + 10 and math.isnan(row["mean_APs"])
    assert (row["inference_s_per_img"], row["inference_fps"]) == (0.25, 4.0)
    assert rows["base_4"]["n_runs"] == 0 and math.isnan(rows["base_4"]["mean_AP"])


def test_speedup_only_on_the_same_hardware(built: Path) -> None:
    suite = load_suite("toy", built)

    def of(*rows: dict) -> dict:
        return build_summary(suite, runs(VALUES), rows)[2]

    same = of(timing("base_4", 0.4), timing("student_1", 0.1))
    assert same["speedup"] == pytest.approx(4.0) and same["speedup_over"] == "base_4" and same["notes"] is None
    other = of(timing("base_4", 0.4, "b" * 12), timing("student_1", 0.1))
    assert math.isnan(other["speedup"]) and other["notes"] == "no speed-up over base_4: timed on other hardware"
    assert math.isnan(of()["speedup"])


def test_several_speedups_are_all_told(built: Path) -> None:
    suite = load_suite("toy", built)
    object.__setattr__(suite, "speedups", (Speedup("student_1", "base_4"), Speedup("student_1", "base_1")))
    timings = [timing("base_4", 0.4), timing("student_1", 0.1), timing("base_1", 0.1)]
    row = build_summary(suite, runs(VALUES), timings)[2]
    assert row["speedup_over"] == "base_4;base_1" and row["notes"] == "speed-ups 4.00;1.00"


def test_comparison_against_scipy(built: Path) -> None:
    (row,) = build_comparisons(load_suite("toy", built), runs(VALUES))
    a, b = (np.array(VALUES[name]).mean(axis=1) for name in ("student_1", "base_1"))
    expected = scipy_stats.ttest_rel(a, b)
    assert row["mean_diff"] == pytest.approx((a - b).mean()) and row["wins"] == 2 and row["n_pairs"] == 2
    assert (row["t"], row["p_value"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    assert row["holds"] == "undecided"
    assert verdict(row) == "not distinguishable at n = 2: the interval holds 0 (higher in 2 of 2 train seeds)"
    assert "wilcoxon: refused, its smallest two-sided p at n = 2 is 0.5" in row["refused"]


def test_verdicts(built: Path) -> None:
    suite = load_suite("toy", built)

    def of(student: list[list[float]], base: list[list[float]]) -> str:
        return verdict(build_comparisons(suite, runs({"student_1": student, "base_1": base}))[0])

    higher = [[60.0], [61.0], [62.0]], [[50.0], [51.1], [51.9]]
    assert of(*higher) == "higher (3 of 3 train seeds)"
    assert of(*reversed(higher)) == "lower (higher in 0 of 3 train seeds)"
    assert of([[60.0]], [[50.0]]) == "cannot be tested: one train seed says nothing about others"
    assert of([[60.0], [math.nan]], [[50.0], [51.0]]) == "undefined: a run has no AP"


def test_one_metric_without_pairs_is_an_error(built: Path) -> None:
    suite = load_suite("toy", built)
    object.__setattr__(suite, "comparisons", (Comparison("student_1", "base_1"),))
    with pytest.raises(Exception, match="train seeds"):
        build_comparisons(suite, runs({"student_1": [[1.0], [2.0]], "base_1": [[1.0]]}))


def test_main_table_follows_its_specification(built: Path) -> None:
    suite = load_suite("toy", built)
    rows = build_main(suite, build_summary(suite, runs(VALUES), []))
    assert [(row["method"], row["exp_id"], row["epochs"]) for row in rows] == [
        ("Baseline", "base_1", "12"),
        ("Ours_1", "student_1", "12+2"),
    ]
    assert rows[1]["mean_AP"] == 67.0 and rows[0]["notes"] is None and rows[1]["notes"] == "1 step"


def test_missing_and_foreign_runs_are_named(root: Path) -> None:
    base, suite = root / "results" / "toy", load_suite("toy", root)
    path = base / "eval/student/seed1/results.tsv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(TableError, match=r"exp_name=student_1, train_seed=1, eval_seed=1: is missing; evaluate again"):
        read_runs(base, suite)


def test_bytes_do_not_depend_on_the_order_of_runs(root: Path) -> None:
    base, suite = root / "results" / "toy", load_suite("toy", root)
    rows = read_runs(base, suite)
    assert build_all(suite, rows, []) == build_all(suite, rows[::-1], [])


def test_rounding_and_escaping() -> None:
    assert number(46.434999) == "46.43" and number(math.nan) == "–" and number(None) == "–"
    assert interval({"ci95_low": math.nan, "ci95_high": 1.0}) == "–"
    assert p_value(0.0004) == "< 0.001" and p_value(0.0496) == "0.050"
    assert latex_escape("a_b & 50 % \\ {x}") == r"a\_b \& 50 \% \textbackslash{} \{x\}"


def test_latex_is_a_booktabs_table(built: Path) -> None:
    suite = load_suite("toy", built)
    text = summary_latex(build_summary(suite, runs(VALUES), []))
    lines = text.splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line.startswith("\\") and "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert all(line.count(" & ") == 9 for line in lines if line.endswith(r"\\"))
