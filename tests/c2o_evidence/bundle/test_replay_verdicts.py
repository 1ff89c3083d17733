"""Verdicts and reasons of a replay, each against a value worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.records import Record
from c2o_evidence.verify.replay.reasons import Reason, reasons, united
from c2o_evidence.verify.replay.verdicts import deltas, judge, judge_mean, tolerance_of

BUNDLE = {"exp_name": "a", "AP": 50.0, "AP50": 70.0, "APl": math.nan, "AP-cat": 40.0}
TOLERANCES = {"AP": 0.1, "AP50": 0.25, "per_class": 1.0}


def here(**changed: float) -> dict:
    return BUNDLE | {name.replace("_", "-"): value for name, value in changed.items()}


@pytest.mark.parametrize(
    ("row", "same_detections", "tolerances", "verdict", "worst"),
    [
        (here(), True, {}, "bit-exact", None),
        (here(), True, TOLERANCES, "bit-exact", None),
        # the same metrics from other detections: near enough only where something may differ at all
        (here(), False, TOLERANCES, "within-tolerance", None),
        (here(), False, {}, "differs", None),
        (here(), False, {"AP": 0}, "differs", None),
        (here(AP=50.0625), False, TOLERANCES, "within-tolerance", "AP"),
        (here(AP=49.9375), False, TOLERANCES, "within-tolerance", "AP"),
        (here(AP=50.125), False, TOLERANCES, "differs", "AP"),
        (here(AP=50.0625), False, {}, "differs", "AP"),  # an older bundle declares nothing
        (here(AP=50.0625, AP50=70.25), False, TOLERANCES, "within-tolerance", "AP50"),  # no room left there
        (here(AP_cat=41.0), False, TOLERANCES, "within-tolerance", "AP-cat"),
        (here(AP_cat=41.5, AP=49.0), False, TOLERANCES, "differs", "AP"),  # 0.9 beyond, the class only 0.5
        (here(APl=1.0), False, TOLERANCES, "differs", "APl"),  # undefined there, defined here
        (here(AP=50.0625), True, {}, "differs", "AP"),  # the metric's own code has changed
    ],
)
def test_a_run(row: dict, same_detections: bool, tolerances: dict, verdict: str, worst: str | None) -> None:
    judged = judge(BUNDLE, row, tolerances, same_detections=same_detections)
    assert judged.verdict == verdict
    assert (judged.worst.metric if judged.worst else None) == worst


def test_a_delta_says_by_how_much() -> None:
    (delta,) = deltas(BUNDLE, here(AP=48.5), TOLERANCES)
    assert (delta.bundle, delta.here, delta.amount, delta.tolerance, delta.within) == (50.0, 48.5, -1.5, 0.1, False)
    assert delta.excess == pytest.approx(1.4)


def test_a_column_that_lacks_is_not_passed_over() -> None:
    row = {name: value for name, value in BUNDLE.items() if name != "AP50"}
    (delta,) = deltas(BUNDLE, row, TOLERANCES)
    assert delta.metric == "AP50" and math.isnan(delta.amount) and not delta.within


def test_tolerances_of_columns() -> None:
    tolerances = {"AP": 1, "AP_voc07": 2, "per_class": 3}
    names = ("AP", "AP_voc07", "AP-cat", "AP_voc07-cat", "AP50")
    assert [tolerance_of(name, tolerances) for name in names] == [1, 2, 3, 3, 0]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=5), st.floats(0, 5))
def test_a_run_passes_exactly_when_every_metric_does(pairs: list[tuple[float, float]], tolerance: float) -> None:
    old = {f"AP-{i}": a for i, (a, _) in enumerate(pairs)}
    new = {f"AP-{i}": b for i, (_, b) in enumerate(pairs)}
    judged = judge(old, new, {"per_class": tolerance}, same_detections=False)
    passes = tolerance > 0 and all(abs(b - a) <= tolerance for a, b in pairs)
    assert judged.verdict == ("within-tolerance" if passes else "differs")
    assert len(judged.deltas) == sum(a != b for a, b in pairs)


def test_a_table_row_is_judged_by_its_mean() -> None:
    """Runs 10 and 20 here, 11 and 18 there: means 15 and 14.5."""
    bundle, made = [{"AP": 10.0}, {"AP": 20.0}], [{"AP": 11.0}, {"AP": 18.0}]
    within = judge_mean(bundle, made, {"AP": 0.5}, bit_exact=False)
    assert within.verdict == "within-tolerance" and within.worst.amount == -0.5
    assert judge_mean(bundle, made, {"AP": 0.25}, bit_exact=False).verdict == "differs"
    assert judge_mean(bundle, bundle, {}, bit_exact=True).verdict == "bit-exact"
    # equal means of other runs are no proof where nothing may differ
    assert judge_mean(bundle, [{"AP": 15.0}, {"AP": 15.0}], {}, bit_exact=False).verdict == "differs"


def record(**changed: object) -> Record:
    hardware = {
        "cpu": "EPYC",
        "isa": ["avx", "avx2"],
        "platform": "Linux-x86_64",
        "cores": 2,
        "pins": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"},
    }
    values = {
        "rule": "evaluate",
        "materials": (),
        "products": (),
        "parameters": {"attention": ["sdpa"]},
        "code_sha256": "c" * 64,
        "lock_sha256": "1" * 64,
        "tools": {"torch": "2.12.1", "numpy": "2.4.6"},
        "host": {"name": "here", "hardware_id": "0123", "hardware": hardware | changed.pop("hardware", {})},
        "started": "2024-01-31T12:00:00Z",
        "ended": "2024-01-31T12:00:09Z",
        "nondeterminism": (),
    }
    values["host"] |= changed.pop("host", {})
    return Record(**values | changed)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        # who, when, and where it ran decides nothing
        ({"host": {"name": "there"}, "started": "2025-01-01T00:00:00Z", "ended": "2025-01-01T00:00:00Z"}, []),
        ({"hardware": {"cpu": "Xeon"}}, [("hardware cpu", "EPYC", "Xeon")]),
        ({"hardware": {"isa": ["avx"]}}, [("hardware isa", "avx, avx2", "avx")]),
        ({"hardware": {"pins": {"OMP_NUM_THREADS": "1"}}}, [("hardware pins.ATEN_CPU_CAPABILITY", "avx2", "none")]),
        ({"host": {"hardware_id": "4567"}}, [("hardware id", "0123", "4567")]),
        ({"lock_sha256": "2" * 64}, [("environment lock", "1" * 64, "2" * 64)]),
        ({"tools": {"torch": "2.13.0", "numpy": "2.4.6"}}, [("version of torch", "2.12.1", "2.13.0")]),
        ({"tools": {"numpy": "2.4.6"}}, [("version of torch", "2.12.1", "none")]),
        ({"code_sha256": "d" * 64}, [("code digest (evaluate)", "c" * 64, "d" * 64)]),
        ({"parameters": {"attention": ["torch"]}}, [("attention kernels", "sdpa", "torch")]),
        ({"nondeterminism": ("atomics",)}, [("nondeterminism: atomics", "no", "yes")]),
    ],
)
def test_reasons(changed: dict, expected: list[tuple[str, str, str]]) -> None:
    assert reasons(record(), record(**changed), "evaluate") == tuple(Reason(*item) for item in expected)


def test_a_training_that_was_taken_over_is_named() -> None:
    taken = record(parameters={"attention": ["sdpa"], "taken_from": "step1/baseline/seed0"})
    (reason,) = reasons(taken, record(), "train")
    assert reason.what == "trained by" and "step1/baseline/seed0" in str(reason)


def test_reasons_of_a_chain_are_named_once() -> None:
    one, other = Reason("a", "1", "2"), Reason("b", "1", "2")
    assert united([[one], [one, other], []]) == (one, other)
