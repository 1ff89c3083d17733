"""What a suite file means, and what a user reads when it is wrong."""

import pytest

from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import MainRow, SuiteRow, load_resolved_suite, load_suite

TOY = "configs/suites/toy.yaml"


def test_reads_every_part(repo):
    suite = load_suite("toy", repo.root)
    assert (suite.name, suite.path, suite.title, suite.data_name) == ("toy", TOY, "Toy", "toy")
    assert (suite.train_seeds, suite.eval_seeds) == ((0, 1), (0, 1, 2))
    assert suite.rows[0] == SuiteRow("base_1", "baseline", 1, {}, "Baseline")
    assert suite.row("warm_20").label == "warm_20"
    assert suite.main_table == (MainRow("Baseline", "diffusion", "R50", "12", "base_1", ""),)
    assert suite.attention.nodes == (100, 200)
    assert suite.timing.repeats == 3


def test_jobs_follow_from_the_rows(repo):
    suite = load_suite("toy", repo.root)
    assert suite.needed == ("backbone", "baseline", "warm", "student")
    assert suite.train_jobs == (
        ("backbone", 0),
        *((name, seed) for name in ("baseline", "warm", "student") for seed in (0, 1)),
    )
    assert suite.eval_jobs == tuple((n, s) for n in ("baseline", "warm", "student") for s in (0, 1))
    assert [row.exp_id for row in suite.rows_of("student")] == ["student_1"]
    assert suite.seeds_of("backbone") == (0,)


def test_extends_merges_mappings_and_replaces_lists(repo):
    suite = load_suite("small", repo.root)
    assert suite.name == "small"
    assert suite.train_seeds == (0,)
    assert suite.eval_seeds == (0, 1, 2)
    assert suite.experiment("baseline").init == "backbone"
    assert suite.config_of("baseline")["SOLVER"] == {"MAX_ITER": 5, "BASE_LR": 0.002}
    assert suite.config_of("warm")["SOLVER"]["MAX_ITER"] == 20


def test_a_path_works_like_a_name(repo, monkeypatch):
    monkeypatch.chdir(repo.root / "configs")
    assert load_suite("configs/suites/toy.yaml", repo.root) == load_suite("toy", repo.root)
    assert load_suite("suites/toy.yaml", repo.root).path == TOY


def test_parents_of_a_recipe_name_the_checkpoints(repo):
    suite = load_suite("toy", repo.root)
    assert [(p.experiment, p.seed) for p in suite.recipe("baseline", 1).parents] == [("backbone", 0)]
    student = suite.recipe("student", 1)
    assert student.init == student.teacher
    assert student.parents == (student.init,)
    assert student.init.digest == suite.recipe("warm", 1).digest
    assert suite.recipe("backbone", 1) == suite.recipe("backbone", 0)


def test_main_table_can_be_a_file(repo):
    row = "- {method: A, type: t, backbone: b, epochs: 3x, exp_id: base_1}\n"
    repo.write("configs/tables/main.yaml", row)
    text = (repo.root / TOY).read_text()
    start, end = text.index("main_table:"), text.index("comparisons:")
    repo.write(TOY, text[:start] + "main_table: configs/tables/main.yaml\n" + text[end:])
    assert load_suite("toy", repo.root).main_table == (MainRow("A", "t", "b", "3x", "base_1"),)
    repo.write("configs/tables/main.yaml", row.replace("method: A, ", ""))
    with pytest.raises(SuiteError, match=r"^configs/tables/main.yaml: \[0\].method: is missing; add it$"):
        load_suite("toy", repo.root)


def test_resolved_suite_is_read_back_without_the_repository(repo, tmp_path):
    suite = load_suite("small", repo.root)
    path = tmp_path / "suite.yaml"
    path.write_text(suite.to_yaml(), encoding="utf-8")
    resolved = load_resolved_suite(path)
    assert resolved.to_yaml() == suite.to_yaml()
    assert resolved.rows == suite.rows and resolved.experiments == suite.experiments
    with pytest.raises(SuiteError, match="was read from a bundle"):
        resolved.recipe("baseline", 0)
    path.write_text(suite.to_yaml().replace("kind: digits", "kind: digit"), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"suite.yaml: data_config.kind: 'digit' is not possible"):
        load_resolved_suite(path)


def test_the_first_fault_is_reported_with_file_key_and_value(repo):
    cases = [
        ("eval_seeds: [0, 1, 2]", "eval_seeds: [0, 3, 3]", "eval_seeds: 3 is listed twice; list it once"),
        ("train_seeds: [0, 1]", "train_seeds: [0, -1]", "train_seeds[1]: -1 is negative; use 0 or more"),
        ("train_seeds: [0, 1]", "train_seeds: []", "train_seeds: has 0 entries; 1 or more are needed"),
        ("train_seeds: [0, 1]", "train_seeds: 5", "train_seeds: 5 is not a list"),
        ("train_seeds: [0, 1]", "train_seeds: [0, true]", "train_seeds[1]: True is not a whole number"),
        ("title: Toy", "titel: Toy", "titel: unknown key; did you mean 'title'?"),
        ("title: Toy", "zzz: Toy", "zzz: unknown key; known: arms, attention, comparisons, dataset, description, "),
        ("name: toy\n", "name: tyo\n", "name: 'tyo' is not the file's name; write 'toy'"),
        ("name: toy\n", "", "name: is missing; add it"),
        ("init: baseline", "init: basline", "experiments.warm.init: 'basline' is not an experiment of this "),
        ("init: baseline", "init: distil", "known: backbone, baseline, student, unused, warm"),
        ("init: warm,", "ini: warm,", "experiments.student.ini: unknown key; did you mean 'init'?"),
        (
            "models/warm.yaml",
            "models/x.yaml",
            "experiments.warm.model: configs/models/x.yaml does not exist; ",
        ),
        (
            "models/warm.yaml",
            "../../x.yaml",
            "experiments.warm.model: configs/../../x.yaml is outside the rep",
        ),
        (
            "configs/data/toy",
            "configs/data/tyo",
            "dataset: configs/data/tyo.yaml does not exist; did you mean",
        ),
        (
            "experiment: warm,",
            "experiment: wram,",
            "rows[1].experiment: 'wram' is not an experiment of this su",
        ),
        (
            "exp_id: warm_20",
            "exp_id: base_1",
            "rows[1].exp_id: 'base_1' is listed twice; give each row its own",
        ),
        (
            "exp_id: warm_20",
            "exp_id: ../w",
            "rows[1].exp_id: '../w' is not a usable name; use letters, digits",
        ),
        ("  unused:", "  un used:", "experiments: 'un used' is not a usable name; use letters, digits"),
        ("sample_step: 20", "sample_step: 0", "rows[1].sample_step: 0 is out of range; use a value >= 1"),
        ("sample_step: 20", "sample_step: '20'", "rows[1].sample_step: '20' is not a whole number"),
        ("b: base_1", "b: base_2", "comparisons[0].b: 'base_2' is not a row; did you mean 'base_1'?"),
        ("b: base_1", "b: student_1", "comparisons[0]: 'student_1' is set against itself; name two rows"),
        ("slow: warm_20", "slow: warm_2", "speedups[0].slow: 'warm_2' is not a row; did you mean 'warm_20'?"),
        (
            "exp_id: base_1, notes",
            "exp_id: b, notes",
            "main_table[0].exp_id: 'b' is not a row; known: base_1, ",
        ),
        ("train_seed: 0", "train_seed: 4", "timing.train_seed: 4 is not one of train_seeds [0, 1]"),
        ("MODEL.RESTARTS:", "MODEL..RESTARTS:", "rows[2].opts: 'MODEL..RESTARTS' is not a configuration key"),
        ("heads: 4", "heads: 4, width: 3", "attention.width: unknown key; known: dim, heads, nodes, repeats"),
        (
            "init: backbone",
            "init: student",
            "experiments.baseline: init and teacher form a cycle baseline -> st",
        ),
        (
            "experiment: baseline",
            "experiment: backbone",
            "comparisons[0].b: 'base_1' has one train seed only",
        ),
    ]
    original = (repo.root / TOY).read_text()
    for old, new, message in cases:
        repo.write(TOY, original)
        repo.edit(TOY, old, new)
        with pytest.raises(SuiteError) as caught:
            load_suite("toy", repo.root)
        assert str(caught.value).startswith(f"{TOY}: "), (new, str(caught.value))
        assert message in str(caught.value), (new, str(caught.value))


def test_shared_experiments_need_shared_parents(repo):
    repo.edit(
        TOY,
        "backbone: {model: configs/models/base.yaml,",
        "backbone: {model: configs/models/base.yaml, init: unused,",
    )
    with pytest.raises(SuiteError, match="experiments.backbone.init: 'unused' is trained for each train seed, but"):
        load_suite("toy", repo.root)


def test_a_fault_is_reported_in_the_file_it_is_in(repo):
    repo.edit(TOY, "init: baseline", "init: nobody")
    with pytest.raises(SuiteError, match=rf"^{TOY}: experiments.warm.init: 'nobody' is not"):
        load_suite("small", repo.root)
    repo.edit(TOY, "init: nobody", "init: baseline")
    repo.edit("configs/suites/small.yaml", "{opts:", "{optz:")
    with pytest.raises(
        SuiteError, match=r"^configs/suites/small.yaml: experiments.baseline.optz: unknown key; did you"
    ):
        load_suite("small", repo.root)


def test_extends_faults(repo):
    repo.edit(TOY, "name: toy", "name: toy\nextends: small")
    with pytest.raises(SuiteError, match=r"extends: forms a cycle toy -> small -> toy; remove"):
        load_suite("toy", repo.root)
    repo.edit(TOY, "extends: small", "extends: smal")
    with pytest.raises(SuiteError, match=r"toy.yaml: extends: 'smal' is not a suite; did you mean 'small'\?"):
        load_suite("toy", repo.root)


def test_yaml_faults_name_the_line(repo):
    repo.edit(TOY, "eval_seeds: [0, 1, 2]", "eval_seeds: [0, 1, 2")
    with pytest.raises(SuiteError, match=rf"^{TOY}:\d+: .*; correct this line$"):
        load_suite("toy", repo.root)
    repo.edit(TOY, "eval_seeds: [0, 1, 2", "eval_seeds: [0]\ntitle: Again")
    with pytest.raises(SuiteError, match=rf"^{TOY}:7: the key 'title' is given twice; correct this line$"):
        load_suite("toy", repo.root)


def test_unknown_suites_experiments_rows_and_seeds(repo, tmp_path):
    with pytest.raises(SuiteError, match=r"^configs/suites/tpy.yaml: does not exist; did you mean 'toy'\?$"):
        load_suite("tpy", repo.root)
    outside = tmp_path / "other.yaml"
    outside.write_text("name: other\n")
    with pytest.raises(SuiteError, match="is outside the repository; copy it to configs/suites/"):
        load_suite(outside, repo.root)
    suite = load_suite("toy", repo.root)
    with pytest.raises(SuiteError, match=r"toy.yaml: 'warn' is not an experiment of this suite; did you mean 'warm'\?"):
        suite.recipe("warn", 0)
    with pytest.raises(SuiteError, match=r"train_seeds: 7 is not one of \[0, 1\]"):
        suite.recipe("warm", 7)
    with pytest.raises(SuiteError, match=r"'warm_1' is not a row; did you mean 'warm_20'\?"):
        suite.row("warm_1")


def test_data_configurations_are_checked(repo):
    data = "configs/data/toy.yaml"
    cases = [
        ("name: set\nkind: digits\n", "name: 'set' is not the file's name; write 'toy'"),
        ("name: toy\nkind: tiles\n", "kind: 'tiles' is not possible"),
        ("name: toy\nkind: digits\nseed: -4\n", "seed: -4 is negative"),
        ("name: toy\nkind: coco\n", "splits: is missing; add it"),
        ("name: toy\nkind: coco\nsplits: {train: {json: a, images: b}}\n", "splits.val: is missing; add it"),
        ("name: toy\nkind: named\nsplits: {train: coco_2017_train}\n", "splits.val: is missing; add it"),
        ("- 1\n", "[1] is not a mapping"),
    ]
    for text, message in cases:
        repo.write(data, text)
        with pytest.raises(SuiteError) as caught:
            load_suite("toy", repo.root)
        assert str(caught.value).startswith(f"{data}: {message}"), str(caught.value)
    repo.write(data, "name: toy\nkind: coco\nsplits:\n  train: {json: a, images: b}\n  val: {json: c, images: d}\n")
    assert load_suite("toy", repo.root).data_config["kind"] == "coco"
    repo.write(data, "name: toy\nkind: named\nsplits: {train: coco_2017_train, val: coco_2017_val}\n")
    assert load_suite("toy", repo.root).data_config["kind"] == "named"


def test_a_derived_suite_needs_its_own_name(repo):
    repo.edit("configs/suites/small.yaml", "name: small\n", "")
    with pytest.raises(SuiteError, match=r"^configs/suites/small.yaml: name: is missing; add it$"):
        load_suite("small", repo.root)


def test_processes_of_the_suite_and_of_an_experiment(repo, tmp_path):
    repo.edit(TOY, "title: Toy", "title: Toy\nprocesses: 4")
    repo.edit(TOY, "init: warm, teacher: warm}", "init: warm, teacher: warm, processes: 1}")
    repo.edit(TOY, "init: baseline}", "init: baseline, processes: 2}")
    suite = load_suite("toy", repo.root)
    shared = {name: spec.processes for name, spec in suite.experiments.items()}
    assert shared == {"backbone": 4, "baseline": 4, "warm": 2, "student": 1, "unused": 4}
    (tmp_path / "suite.yaml").write_text(suite.to_yaml(), encoding="utf-8")
    assert load_resolved_suite(tmp_path / "suite.yaml").experiments == suite.experiments
    assert suite.to_yaml().count("processes:") == 4  # one is not written: a bundle that has it keeps its bytes


@pytest.mark.parametrize(
    ("processes", "solver", "message"),
    [
        ("0", "", r"^configs/suites/toy.yaml: processes: 0 "),
        ("true", "", r"^configs/suites/toy.yaml: processes: "),
        ("3", "IMS_PER_BATCH: 16", "3 processes cannot share SOLVER.IMS_PER_BATCH 16 evenly; use a divisor of it$"),
        (
            *("4", "IMS_PER_BATCH: 8\n  ACCUMULATE_STEPS: 4"),
            r"experiments.backbone.processes: 4 processes with 4 micro-batches each \(SOLVER.ACCUMULATE_STEPS\) cannot",
        ),
        ("4", "IMS_PER_BATCH: 16\n  ACCUMULATE_STEPS: 4", None),
        ("5", "", None),  # the batch is the model's own default, which only the training knows
    ],
)
def test_what_cannot_be_shared_is_refused(repo, processes, solver, message):
    repo.edit(TOY, "title: Toy", f"title: Toy\nprocesses: {processes}")
    repo.edit("configs/models/base.yaml", "  MAX_ITER: 100\n", f"  MAX_ITER: 100\n  {solver}\n")
    if message is None:
        assert load_suite("toy", repo.root).recipe("backbone", 0).digest
        return
    with pytest.raises(SuiteError, match=message):
        load_suite("toy", repo.root).recipe("backbone", 0)
