"""Hand-made pairs of tables for each verdict, tests against scipy, and the symmetry of a comparison."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from c2o_evidence.diff import diff
from c2o_evidence.diff.tables import diff_tables
from c2o_evidence.diff.verdicts import from_moments, over_seeds, whole
from c2o_evidence.errors import EvidenceError
from c2o_evidence.tsv import format_tsv, write_tsv

SHA = "0123456789abcdef" * 4
OTHER = "f" * 64
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def runs(values, **changes):
    """`{train seed: [AP of each eval seed]}` as rows of exp `x`."""
    return [
        {
            "exp_name": "x",
            "ckpt_path": f"train/x/seed{seed}/model.safetensors",
            **{f"{part}_sha256": SHA for part in ("ckpt", "config", "dataset", "code")},
            "train_seed": seed,
            "eval_seed": number,
            "sample_step": 1,
            **dict.fromkeys(METRICS, ap),
        }
        | changes
        for seed, group in values.items()
        for number, ap in enumerate(group)
    ]


def compared(a, b, kind="results"):
    return diff_tables(kind, format_tsv(a, kind), format_tsv(b, kind), ("a", "b"), "rows")


BASE = {0: [40.0, 42.0], 1: [50.0, 52.0], 2: [45.0, 45.0]}


def test_identical():
    found = compared(runs(BASE), runs(BASE))
    assert (found.verdict, found.counts, found.rows) == ("identical", {"identical": 6}, ())


def test_same_numbers_says_what_differs():
    found = compared(runs(BASE), runs(BASE, code_sha256=OTHER, ckpt_sha256=OTHER))
    assert found.verdict == "same numbers" and found.counts == {"same numbers": 6}
    assert found.rows[0].says == (
        "checkpoint digest: 0123456789ab -> ffffffffffff",
        "code digest: 0123456789ab -> ffffffffffff",
    )
    assert list(found.settings) == []


def test_moved_is_tested_in_pairs_of_train_seeds():
    # Means by train seed 41, 51, 45 -> 42, 53, 48: differences 1, 2, 3: mean 2, s = 1, t = 2 / (1 / sqrt 3).
    found = compared(runs(BASE), runs({0: [41.0, 43.0], 1: [52.0, 54.0], 2: [48.0, 48.0]}))
    assert found.verdict == "moved" and found.counts == {"moved": 6}
    assert [row.moves[0].delta for row in found.rows] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    (setting,) = found.settings
    move = setting.moves[0]
    assert (move.column, move.a, move.b) == ("AP", pytest.approx(137 / 3), pytest.approx(143 / 3))
    assert (move.test.kind, move.test.n_a, move.test.df) == ("paired t", 3, 2)
    assert move.test.t == pytest.approx(2 * math.sqrt(3))
    expected = scipy_stats.ttest_rel([42, 53, 48], [41, 51, 45])
    assert move.test.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (move.test.ci_low, move.test.ci_high) == pytest.approx((low, high))


def test_other_train_seeds_are_tested_by_welch():
    found = compared(runs(BASE), runs({5: [60.0, 62.0], 6: [50.0, 52.0]}))
    (setting,) = found.settings
    assert setting.says == ("train seeds: 0-2 against 5, 6",)
    expected = scipy_stats.ttest_ind([61, 51], [41, 51, 45], equal_var=False)
    test = setting.moves[0].test
    assert (test.kind, test.n_a, test.n_b) == ("Welch t", 3, 2)
    assert (test.t, test.df, test.p) == pytest.approx((expected.statistic, expected.df, expected.pvalue))
    assert found.counts == {"removed": 6, "added": 4}


def test_one_train_seed_allows_no_test():
    (setting,) = compared(runs({0: [40.0]}), runs({0: [41.0]})).settings
    assert setting.moves[0].test.refused == "no test: n = 1 train seeds; 2 or more are needed on each side"
    (setting,) = compared(runs({0: [40.0], 1: [50.0]}), runs({0: [41.0], 1: [51.0]})).settings
    assert "the train seeds do not vary, so there is no p (n = 2 and 2)" in setting.moves[0].test.refused


def test_summary_moments_give_welchs_test():
    a, b = [41.0, 51.0, 45.0], [47.0, 58.0, 60.0, 61.0]
    moments = [(sum(v) / len(v), scipy_stats.tstd(v), len(v)) for v in (a, b)]
    expected = scipy_stats.ttest_ind(b, a, equal_var=False)
    test = from_moments(*moments)
    assert (test.t, test.df, test.p) == pytest.approx((expected.statistic, expected.df, expected.pvalue))


@pytest.mark.parametrize(
    ("b", "why"),
    [
        (runs(BASE, dataset_sha256=OTHER), "another data set: 0123456789ab against ffffffffffff"),
        (runs(BASE, sample_step=4), "another sample_step: 1 against 4"),
        (runs({seed: [v / 100 for v in group] for seed, group in BASE.items()}), "another scale: B is from 0 to 1, A"),
    ],
)
def test_not_comparable_and_why(b, why):
    found = compared(runs(BASE), b)
    assert found.verdict == "not comparable" and found.counts == {"not comparable": 6}
    assert all(row.says[0].startswith(why) and not row.moves for row in found.rows)


def test_other_eval_seeds_are_not_compared():
    b = [row | {"eval_seed": row["eval_seed"] + 5} for row in runs(BASE)]
    found = compared(runs(BASE), b)
    assert found.verdict == "not comparable"
    assert found.settings[0].says == ("other eval seeds: 0, 1 against 5, 6",)
    assert found.counts == {"added": 6, "removed": 6}


def test_undefined_numbers():
    nan = runs(BASE, APs=math.nan)
    assert compared(nan, nan).verdict == "identical"
    found = compared(nan, runs(BASE, APs=3.0))
    assert found.verdict == "moved" and found.rows[0].says == ("APs is undefined in A",)


def timing(seconds, **changes):
    return {
        "exp_id": "x",
        "ckpt_path": "train/x/seed0/model.safetensors",
        "ckpt_sha256": SHA,
        "train_seed": 0,
        "sample_step": 1,
        "inference_s_per_img": seconds,
        "inference_s_per_img_min": seconds - 0.01,
        "inference_s_per_img_max": seconds + 0.01,
        "inference_fps": 1 / seconds,
        "warmup": 1,
        "repeats": 3,
        "images": 4,
        "batch": 1,
        "image_height": 64,
        "image_width": 64,
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "hardware_id": "a",
        "hardware": "CPU",
    } | changes


def test_times_only_on_the_same_hardware():
    found = compared([timing(0.1)], [timing(0.2, hardware_id="b")], "timing")
    assert found.verdict == "not comparable" and found.rows[0].says == ("other hardware: a against b",)
    near = compared([timing(0.1)], [timing(0.105)], "timing")
    assert near.verdict == "same numbers" and "1.050 times the seconds, within the ranges" in near.rows[0].says[0]
    apart = compared([timing(0.1)], [timing(0.2)], "timing")
    assert apart.verdict == "moved" and apart.rows[0].moves[0].delta == pytest.approx(0.1)


def manifest(values, **changes):
    return [
        {
            "exp_id": "x",
            "tsv_path": f"results/s/eval/x/seed{seed}/results.tsv",
            "tsv_sha256": SHA,
            "ckpts": f"results/s/train/x/seed{seed}/model.safetensors",
            "ckpt_sha256s": SHA,
            "n_runs": 5,
            "mean_AP": ap,
            "std_AP_pop": 1.0,
            "notes": None,
        }
        | changes
        for seed, ap in values.items()
    ]


def test_rows_of_a_manifest_are_paired_by_the_seed_in_their_path():
    found = compared(manifest({0: 41.0, 1: 51.0, 2: 45.0}), manifest({0: 42.0, 1: 53.0, 2: 48.0}), "results_manifest")
    (setting,) = found.settings
    assert setting.row == "x (results/s/eval/x/seed*/results.tsv)"
    assert setting.moves[0].test.t == pytest.approx(2 * math.sqrt(3))
    fewer = compared(manifest({0: 41.0}), manifest({0: 41.0}, n_runs=3), "results_manifest")
    assert fewer.verdict == "not comparable" and fewer.rows[0].says == ("another number of runs: 5 against 3",)


def freeze(name, revision, state, digest):
    row = {"name": name, "revision": revision, "state": state, "root_sha256": digest, "files": 1, "bytes": 1}
    return row | {"notes": None}


def test_ledgers(tmp_path):
    old, new = [freeze("s", 1, "current", SHA)], [freeze("s", 1, "superseded", SHA), freeze("s", 2, "current", OTHER)]
    write_tsv(tmp_path / "a.tsv", old, "deliverables")
    write_tsv(tmp_path / "b.tsv", [*new, freeze("t", 1, "current", SHA)], "deliverables")
    found = diff(tmp_path / "a.tsv", tmp_path / "b.tsv")
    assert (found.verdict, found.exit_code) == ("differs", 1)
    assert "B has frozen anew since A (revision 1 -> 2)" in found.sections[0].rows[0].says
    assert found.sections[0].counts == {"differs": 1, "added": 1}


def test_two_of_a_kind_are_needed(tmp_path):
    write_tsv(tmp_path / "a.tsv", runs(BASE), "results")
    write_tsv(tmp_path / "b.tsv", [timing(0.1)], "timing")
    (tmp_path / "c.tsv").write_text("x\ty\n")
    with pytest.raises(EvidenceError, match=r"a.tsv is a results table, .*b.tsv a timing table; give two of a kind"):
        diff(tmp_path / "a.tsv", tmp_path / "b.tsv")
    with pytest.raises(EvidenceError, match="has not the columns of a table that can be compared"):
        diff(tmp_path / "a.tsv", tmp_path / "c.tsv")
    with pytest.raises(EvidenceError, match="nothing: is no file, no bundle, and not in deliverables/"):
        diff(tmp_path / "a.tsv", "nothing")


def test_the_whole_follows_from_the_rows():
    assert whole({}) == whole({"identical": 3}) == "identical"
    assert whole({"identical": 3, "same numbers": 1}) == "same numbers"
    assert whole({"same numbers": 1, "moved": 1, "not comparable": 9}) == "moved"
    assert whole({"not comparable": 1, "added": 2}) == "not comparable"
    assert whole({"not comparable": 1, "identical": 2}) == whole({"added": 1}) == "differs"


groups = st.dictionaries(
    st.integers(0, 4), st.lists(st.floats(1, 100) | st.just(math.nan), min_size=1, max_size=2), min_size=1, max_size=4
)
MIRROR = {"added": "removed", "removed": "added"}


@settings(max_examples=40, deadline=None)
@given(a=groups, b=groups)
def test_a_table_is_identical_to_itself_and_turning_the_sides_turns_the_signs(a, b):
    assert compared(runs(a), runs(a)).verdict == "identical"
    there, back = compared(runs(a), runs(b)), compared(runs(b), runs(a))
    assert there.verdict == back.verdict
    for name in ("rows", "settings"):
        left = {row.row: row for row in getattr(there, name)}
        right = {row.row: row for row in getattr(back, name)}
        assert left.keys() == right.keys()
        for key, row in left.items():
            other = right[key]
            assert other.verdict == MIRROR.get(row.verdict, row.verdict)
            for one, two in zip(row.moves, other.moves, strict=True):
                assert one.delta == pytest.approx(-two.delta, nan_ok=True)
                if one.test is not None:
                    assert (one.test.ci_low, one.test.p) == pytest.approx((-two.test.ci_high, two.test.p), nan_ok=True)


def test_tests_name_the_side_they_are_of():
    test = over_seeds({0: [1.0], 1: [2.0], 2: [4.0]}, {7: [5.0], 8: [9.0]})
    assert (test.n_a, test.n_b) == (3, 2) and test.t > 0
