"""`c2o stats` from the file to what is printed, against numbers worked out by hand."""

import doctest
import json
import math
from pathlib import Path

import pytest
from scipy import stats as scipy_stats

from c2o_evidence.cli import main
from c2o_evidence.foreign import present
from c2o_evidence.foreign.present import escape_markdown
from tests.c2o_evidence.foreign.conftest import EVAL_ONLY, archive_rows


def run(capsys, *arguments):
    status = main(["stats", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_25_runs_by_hand(capsys, table):
    # Train means 48.2, 48.7, … 50.2: mean 49.2. Population variance 0.25 * 2 + 0.01 * 2 = 0.52, sample 25 / 24 of it.
    # MSW = 5 * 0.1 / 20 = 0.025, MSB = 5 * 2.5 / 4 = 3.125, between = 3.1 / 5 = 0.62.
    # Deviation of the train means sqrt(2.5 / 4); half width t(0.975, 4) = 2.7764451 times it over sqrt(5).
    status, out, _ = run(capsys, table("r.tsv", archive_rows("student", 5, 5)), "--json")
    (group,) = json.loads(out)["groups"]
    assert status == 0 and (group["n_runs"], group["n_train_seeds"], group["n_eval_seeds"]) == (25, 5, 5)
    assert group["mean"] == pytest.approx(49.2, rel=1e-12)
    assert group["std_pop"] == pytest.approx(math.sqrt(0.52), rel=1e-9)
    assert group["std_sample"] == pytest.approx(math.sqrt(0.52 * 25 / 24), rel=1e-9)
    assert group["std_between_train"] == pytest.approx(math.sqrt(0.62), rel=1e-9)
    assert group["std_within_eval"] == pytest.approx(math.sqrt(0.025), rel=1e-9)
    half = 2.7764451051977987 * math.sqrt(0.625) / math.sqrt(5)
    assert (group["ci95_low"], group["ci95_high"]) == pytest.approx((49.2 - half, 49.2 + half), rel=1e-9)
    assert group["refused"] == []
    assert group["columns"] == {"config_file": "configs/r50.yaml", "out_dir": None} | dict.fromkeys(
        ("AP50", "AP75", "APs", "APm", "APl")
    )
    seed = group["train_seeds"][3]
    assert (seed["train_seed"], seed["n_runs"]) == (3, 5)
    assert (seed["mean"], seed["std_pop"], seed["std_sample"]) == pytest.approx(
        (49.7, math.sqrt(0.02), math.sqrt(0.025)), rel=1e-9
    )


def test_files_of_15_and_25_runs_are_joined_and_printed(capsys, table):
    files = table("base.tsv", archive_rows("baseline", 3, 5, 46.0)), table("student.tsv", archive_rows("student", 5, 5))
    status, out, _ = run(capsys, *files, "--by", "train_seed")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[2][:8] == ["baseline", "1", "15", "3", "5", "46.70", "0.43", "0.45"]
    assert lines[3] == ["student", "1", "25", "5", "5", "49.20", "0.72", "0.74", "48.22", "to", "50.18", "0.79", "0.16"]
    assert "student@1: AP by train seed" in out and ["3", "5", "49.70", "0.14", "0.16"] in [line[:5] for line in lines]
    assert out.rstrip().endswith("AP is on the scale 0-100, as seen: 46 to 50.4 in 40 runs")


def test_eval_seeds_alone_have_no_interval_and_that_is_said(capsys, table):
    path = table("seed0.tsv", archive_rows("old", 1, 5), EVAL_ONLY)
    status, out, _ = run(capsys, path, "--json")
    (group,) = json.loads(out)["groups"]
    assert status == 0 and group["std_pop"] == pytest.approx(math.sqrt(0.02))
    assert (group["n_train_seeds"], group["ci95_low"], group["std_between_train"]) == (None, None, None)
    assert group["refused"][0].startswith(
        "95 % interval and variance split: refused, no train_seed: this is the spread"
    )
    status, out, _ = run(capsys, path)
    assert "old@1: 95 % interval and variance split: refused" in out
    status, _, err = run(capsys, path, "--compare", "old", "old@1")
    assert status == 2 and "same runs; name two settings" in err


def test_one_train_seed_and_one_eval_seed_are_refused_with_the_figure(capsys, table):
    files = table("a.tsv", archive_rows("a", 1, 5)), table("b.tsv", archive_rows("b", 5, 1))
    status, out, _ = run(capsys, *files, "--json")
    a, b = json.loads(out)["groups"]
    assert a["refused"][0].startswith("95 % interval: refused, n = 1 train seed leaves 0 degrees of freedom")
    assert b["refused"] == [
        "variance split: refused, 5 runs of 5 train seeds leave 0 degrees of freedom between eval seeds; add eval seeds"
    ]
    assert b["std_between_train"] is None and b["ci95_low"] is not None
    status, out, err = run(capsys, *files, "--compare", "a", "b")
    assert (status, out) == (2, "") and "a: t test: refused, n = 1 train seed leaves 0 degrees of freedom" in err


def test_bootstrap_is_refused_at_5_and_marked_at_10(capsys, table):
    status, _, err = run(capsys, table("a.tsv", archive_rows("a", 5, 2)), "--interval", "bootstrap")
    told = "a: percentile bootstrap: refused, at n = 5 its 95 % interval covers about 84 %; use the t interval\n"
    assert status == 2 and err == f"c2o stats: {told}"
    status, out, _ = run(capsys, table("b.tsv", archive_rows("b", 10, 2)), "--interval", "bootstrap")
    assert status == 0 and "b@1: percentile bootstrap: at n = 10 its 95 % interval covers about 90 %" in out


def unequal(name, values):
    """One run a train seed."""
    rows = archive_rows(name, len(values), 1)
    return [row | {"AP": value, "AP50": value} for row, value in zip(rows, values, strict=True)]


A, B = [48.1, 49.0, 47.7, 48.8, 48.4, 49.9], [47.0, 48.3, 47.1, 47.5, 47.9, 48.0]


def test_comparisons_against_scipy(capsys, table):
    files = table("a.tsv", unequal("a", A)), table("b.tsv", unequal("b", B))
    status, out, _ = run(capsys, *files, "--compare", "a", "b", "--json")
    (item,) = json.loads(out)["comparisons"]
    expected = scipy_stats.ttest_rel(A, B)
    assert status == 0 and item["test"] == "paired" and item["wins"] == 6 and item["refused"] == []
    assert (item["t"], item["p"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    for test, pvalue in (
        ("unpaired", scipy_stats.ttest_ind(A, B, equal_var=False).pvalue),
        ("wilcoxon", 2 / 2**6),  # all six differences are positive
        ("mann-whitney", scipy_stats.mannwhitneyu(A, B, method="exact").pvalue),
    ):
        _, out, _ = run(capsys, *files, "--compare", "a", "b", "--json", "--test", test)
        assert json.loads(out)["comparisons"][0]["p"] == pytest.approx(pvalue, rel=1e-9)


def test_a_rank_test_that_n_cannot_carry(capsys, table):
    files = table("a.tsv", unequal("a", A[:5])), table("b.tsv", unequal("b", B[:5]))
    status, _, err = run(capsys, *files, "--compare", "a", "b", "--test", "wilcoxon")
    assert status == 2 and "wilcoxon: refused, its smallest two-sided p at n = 5 is 0.0625, not below 0.05" in err
    status, out, _ = run(capsys, *files, "--compare", "a", "b")
    assert status == 0 and "wilcoxon: refused, its smallest two-sided p at n = 5 is 0.0625" in out
    assert out.startswith("a − b: +0.84 AP, 95 % interval ") and "(paired t test over train seeds, n = 5 pairs)" in out


def test_two_files_with_one_experiment_are_compared(capsys, table):
    a = table("mine.tsv", archive_rows("student", 5, 5))
    b = table(
        "theirs.tsv",
        [row | {"ckpt_sha256": "f" * 63 + str(row["train_seed"])} for row in archive_rows("student", 5, 5, 47)],
    )
    status, out, _ = run(capsys, "--compare", a, b)
    assert status == 0 and out.startswith(f"{a} − {b}: +1.00 AP") and "undefined" not in out.split("verdict")[0]
    status, out, _ = run(capsys, a, b)
    assert status == 1 and "used-twice" not in out.splitlines()[0]


def test_files_with_several_settings_are_compared_setting_by_setting(capsys, table):
    a = table("a.tsv", archive_rows("x", 5, 2) + archive_rows("y", 5, 2, 40))
    b = table("b.tsv", archive_rows("x", 5, 2, 47) + archive_rows("z", 5, 2, 40))
    status, out, _ = run(capsys, "--compare", a, b, "--json")
    (item,) = json.loads(out)["comparisons"]
    assert status == 0 and item["a"] == f"{a}:x@1" and item["mean_diff"] == pytest.approx(1.0)
    c = table("c.tsv", archive_rows("q", 5, 2))
    status, _, err = run(capsys, "--compare", a, c)
    assert status == 2 and f"the files share no setting: {a} has x@1, y@1; {c} has q@1" in err
    status, _, err = run(capsys, table("d.tsv", archive_rows("x", 5, 2) + [
        row | {"sample_step": 4, "eval_seed": row["eval_seed"]} for row in archive_rows("x", 5, 2)
    ]), "--compare", "x", "x@4")  # fmt: skip
    assert status == 2 and "'x' has several settings; name one of x@1, x@4" in err


def test_the_example_of_the_documentation_is_what_is_printed(capsys, table):
    files = table("base.tsv", archive_rows("baseline", 3, 5, 46.0)), table("student.tsv", archive_rows("student", 5, 5))
    _, out, _ = run(capsys, *files)
    page = (Path(__file__).resolve().parents[3] / "docs" / "statistics.md").read_text("utf-8")
    assert "".join(f"    {line}\n" if line else "\n" for line in out.splitlines()) in page


def test_the_example_of_escaping_holds():
    assert doctest.testmod(present) == doctest.TestResults(failed=0, attempted=1)


def test_train_seeds_must_fit(capsys, table):
    late = [row | {"train_seed": row["train_seed"] + 3} for row in archive_rows("b", 5, 2)]
    path = table("t.tsv", archive_rows("a", 5, 2) + late)
    status, _, err = run(capsys, path, "--compare", "a", "b")
    assert status == 2 and "a has train seeds [0, 1, 2, 3, 4], b has [3, 4, 5, 6, 7]: neither the same" in err
    status, _, err = run(capsys, path, "--compare", "a", "b", "--test", "paired")
    assert status == 2 and "--test paired: train seeds [0, 1, 2, 5, 6, 7] are on one side only" in err
    status, out, _ = run(capsys, path, "--compare", "a", "b", "--test", "unpaired")
    assert status == 0 and "(Welch's t test, unpaired over train seeds, n = 5 and 5)" in out
    status, _, err = run(capsys, path, "--compare", "a", "c")
    assert status == 2 and "--compare: 'c' is no exp_name or file here; known: a, a@1, b, b@1" in err


def change(rows, index, **values):
    return [row | values if number == index else row for number, row in enumerate(rows)]


ROWS = archive_rows("a", 2, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (change(ROWS, 1, ckpt_sha256="e" * 64), "changed: F: row line 3: column ckpt_sha256: checkpoint "
         "/old/disk/a/s0.pth has another digest in F:2"),
        (change(ROWS, 1, ckpt_sha256="e" * 64, ckpt_path="/other"), "exp_name a, train seed 0 has another digest in F"),
        (change(ROWS, 2, ckpt_sha256=ROWS[0]["ckpt_sha256"]), "used-twice: F: row line 4: column ckpt_sha256: "
         "is the checkpoint of train seed 0 in F:2"),
        ([*ROWS, ROWS[1]], "used-twice: F: row line 6: column eval_seed: exp_name a, train seed 0, eval seed 1, "
         "1 steps is in F:3 already, with equal values"),
        (change(ROWS, 1, eval_seed=0), "row-edited: F: row line 3: column AP: exp_name a, train seed 0, eval seed "
         "0, 1 steps is in F:2 already, with another value (expected 48.0, found 48.1)"),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other(capsys, table, rows, message):
    path = table("t.tsv", rows)
    status, out, _ = run(capsys, path)
    assert status == 1 and message.replace("F", str(path)) in out and "nothing was computed" in out
    status, out, _ = run(capsys, path, "--json")
    assert status == 1 and json.loads(out)["consistent"] is False


def test_one_run_in_two_files_without_train_seeds(capsys, table):
    files = [table(f"{n}.tsv", archive_rows("a", 1, 2), EVAL_ONLY) for n in (1, 2)]
    status, out, _ = run(capsys, *files)
    assert status == 1 and "eval seed 0 (without train_seed, trainings cannot be told apart)" in out


def test_train_seeds_in_one_file_only(capsys, table):
    rows = archive_rows("a", 2, 2)
    files = table("1.tsv", rows), table("2.tsv", [row | {"eval_seed": 9} for row in rows[:1]], EVAL_ONLY)
    status, _, err = run(capsys, *files)
    assert status == 2 and "2.tsv:2: exp_name a has no train_seed here, but one in" in err


def test_scales_are_told_and_not_mixed(capsys, table):
    unit = table("unit.tsv", archive_rows("u", 2, 2, scale=0.01))
    status, out, _ = run(capsys, unit)
    assert status == 0 and "AP is on the scale 0-1, as seen: 0.48 to 0.486 in 4 runs" in out and "0.4830" in out
    hundred = table("hundred.tsv", archive_rows("h", 2, 2))
    status, _, err = run(capsys, unit, hundred)
    assert (
        status == 2 and "hundred.tsv:2: AP: 48.0 is on a scale of 0-100, but 0.48 in" in err and "use one scale" in err
    )
    status, out, _ = run(capsys, unit, hundred, "--scale", "0-100")
    assert status == 0 and "on the scale 0-100, as stated" in out
    status, _, err = run(capsys, hundred, "--scale", "0-1")
    assert status == 2 and "hundred.tsv:2: AP: 48.0 is not in 0-1; correct the cell" in err
    coco = table("coco.tsv", [row | {"AP": -1} for row in archive_rows("c", 1, 1)])
    status, _, err = run(capsys, coco)
    assert status == 2 and "AP: -1.0 is not in 0-1; -1 stands for undefined in COCO's tools: take the run out" in err


def test_markdown_escapes_foreign_text(capsys, table):
    name = "=HYPERLINK(a)|<img>"
    status, out, _ = run(capsys, table("t.tsv", archive_rows(name, 2, 2)), "--markdown")
    assert status == 0 and "| \\=HYPERLINK(a)\\|\\<img\\> | 1 | 4 |" in out
    assert [escape_markdown(text) for text in ("@x", "-1", "+1", "a_b", "_a_", "")] == [
        "\\@x", "\\-1", "\\+1", "a_b", "\\_a\\_", "",
    ]  # fmt: skip


def test_on_a_terminal_foreign_text_is_no_markup(capsys):
    table = ("[bold]t[/bold]", ["setting", "mean"], [["[red]a[/red]", "1.00"], ["[/nothing]", "2.00"]])
    present.print_rich([table], ["[link=x]note[/link]"])
    out, _ = capsys.readouterr()
    for text in ("[bold]t[/bold]", "[red]a[/red]", "[/nothing]", "[link=x]note[/link]"):
        assert text in out


def test_no_file(capsys):
    status, _, err = run(capsys)
    assert status == 2 and "no file is named" in err
    status, _, err = run(capsys, "--compare", "nosuch.tsv", "other.tsv")
    assert status == 2 and "--compare: no file 'nosuch.tsv' and 'other.tsv' here; give two files" in err
