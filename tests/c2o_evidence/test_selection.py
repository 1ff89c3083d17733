"""A row chosen by its results: declared in the suite, marked in the tables, with the unselected row beside it."""

import math

import pytest

from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import Selection, load_resolved_suite, load_suite
from c2o_evidence.tables import build_all
from c2o_evidence.tables.rows import beside
from c2o_evidence.tsv import parse_tsv

TOY = "configs/suites/toy.yaml"
SELECTED = "selected: {what: learning rate per train seed, chosen_on: val, unselected: base_1}"
WHY = "† Selected: learning rate per train seed, chosen on val; without: base_1. Its AP is that of the best choice"


@pytest.fixture
def selected(repo):
    repo.edit(TOY, "sample_step: 1, opts: {MODEL.RESTARTS: 2}}", "sample_step: 1, label: Student, " + SELECTED + "}")
    old = "epochs: 12, exp_id: base_1, notes: null}\n"
    new = "  - {method: Slow, type: t, backbone: R50, epochs: 12, exp_id: warm_20}\n"
    new += "  - {method: Ours, type: t, backbone: R50, epochs: 12, exp_id: student_1}\n"
    repo.edit(TOY, old, old + new)
    return repo


def rows_of(suite):
    rows = []
    for row in suite.rows:
        for train in suite.train_seeds:
            for run in suite.eval_seeds:
                ap = 50.0 + 2 * train + run
                numbers = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), ap)
                identity = {"exp_name": row.exp_id, "ckpt_path": f"train/x/seed{train}/m.safetensors"}
                digests = dict.fromkeys(("ckpt_sha256", "config_sha256", "dataset_sha256", "code_sha256"), "0" * 64)
                seeds = {"train_seed": train, "eval_seed": run, "sample_step": row.sample_step}
                rows.append(identity | digests | seeds | numbers)
    return rows


def test_the_declaration_is_read_and_kept_in_the_resolved_suite(selected, tmp_path):
    suite = load_suite("toy", selected.root)
    assert suite.row("student_1").selected == Selection("learning rate per train seed", "val", "base_1")
    assert suite.row("base_1").selected is None
    path = tmp_path / "suite.yaml"
    path.write_text(suite.to_yaml())
    assert load_resolved_suite(path).rows == suite.rows
    assert suite.to_yaml().count(" selected:") == 1


def test_tables_mark_the_row_and_put_the_unselected_one_above_it(selected):
    suite = load_suite("toy", selected.root)
    files = build_all(suite, rows_of(suite), [])
    summary = parse_tsv(files["summary.tsv"], "summary")
    assert [row["exp_id"] for row in summary] == ["base_1", "student_1", "warm_20"]  # not the suite's order
    why = "learning rate per train seed, chosen on val; without: base_1"
    assert [row["selected"] for row in summary] == [None, why, None]
    assert [row["exp_id"] for row in parse_tsv(files["main.tsv"], "main")] == ["base_1", "student_1", "warm_20"]
    for name, label in (("summary.md", "| Student † |"), ("main.md", "| Ours † |")):
        assert label in files[name] and files[name].count(WHY) == 1
    assert "student_1 † − base_1" in files["summary.md"]
    for name, label in (("summary.tex", r"Student $^\dagger$ &"), ("main.tex", r"Ours $^\dagger$ &")):
        assert label in files[name]
        foot = files[name].split("\\bottomrule\n")[1]
        assert foot.startswith("\\multicolumn{") and r"{l}{\footnotesize $^\dagger$ Selected: learning rate" in foot


def test_without_a_selected_row_nothing_changes(repo):
    suite = load_suite("toy", repo.root)
    files = build_all(suite, rows_of(suite), [])
    assert [row["exp_id"] for row in parse_tsv(files["summary.tsv"], "summary")] == ["base_1", "warm_20", "student_1"]
    assert not any("†" in text or "dagger" in text or "elected" in text for text in files.values())
    assert "selected" not in suite.to_yaml()


def test_several_rows_from_one_stand_below_it_in_their_order(selected):
    suite = load_suite("toy", selected.root)
    assert beside(suite, ["student_1", "warm_20", "base_1"]) == [1, 2, 0]
    assert beside(suite, ["student_1", "warm_20"]) == [0, 1]  # the other is not in this table
    assert beside(suite, ["student_1", "base_1", "student_1", "warm_20"]) == [1, 0, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unselected: base_1", "unselected: base_2", r"rows\[2\].selected.unselected: 'base_2' is not a row; did you"),
        ("unselected: base_1", "unselected: student_1", "'student_1' is the selected row itself; name the row without"),
        (", unselected: base_1", "", r"rows\[2\].selected.unselected: is missing; add it"),
        ("chosen_on: val", "by: val", r"rows\[2\].selected.by: unknown key"),
        ("sample_step: 1, label: Baseline", "sample_step: 1, " + SELECTED.replace("base_1", "warm_20"),
         r"rows\[2\].selected.unselected: 'base_1' was selected too; name a row without selection"),
        ("epochs: 12, exp_id: base_1", "epochs: 12, exp_id: warm_20",
         "main_table: 'student_1' was selected, but its unselected row 'base_1' is not there; add it"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused(selected, old, new, message):
    selected.edit(TOY, old, new)
    with pytest.raises(SuiteError, match=message):
        load_suite("toy", selected.root)


def test_a_declaration_makes_the_tables_anew_and_nothing_else(repo, selected):
    suite = load_suite("toy", selected.root)
    selected.edit(TOY, "chosen_on: val", "chosen_on: holdout")
    other = load_suite("toy", selected.root)
    assert suite.tables_digest() != other.tables_digest()
    assert suite.eval_digest("student", 0) == other.eval_digest("student", 0)


def test_one_train_seed_has_no_interval_and_the_table_says_why(repo):
    suite = load_suite("small", repo.root)
    files = build_all(suite, rows_of(suite), [])
    (row, *_) = parse_tsv(files["comparisons.tsv"], "comparisons")
    assert math.isnan(row["p_value"]) and row["refused"].startswith(
        "paired t test: refused, n = 1 train seed leaves 0 degrees of freedom; 2 or more are needed; wilcoxon: refused"
    )
    told = (
        "Baseline: 95 % interval: refused, n = 1 train seed leaves 0 degrees of freedom; 2 or more are needed; variance"
    )
    assert told in files["summary.md"]
