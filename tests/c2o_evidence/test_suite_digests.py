"""A changed value changes the digests of exactly the jobs that depend on it; a changed spelling, none."""

import shutil

import pytest

from c2o_evidence.suite import load_suite

TOY = "configs/suites/toy.yaml"
TRAIN = {"train:backbone:0"} | {f"train:{n}:{s}" for n in ("baseline", "warm", "student") for s in (0, 1)}
EVAL = {f"eval:{n}:{s}" for n in ("baseline", "warm", "student") for s in (0, 1)}
ALL = TRAIN | EVAL | {"generate", "timing", "attention", "tables"}


def digests(repo):
    suite = load_suite("toy", repo.root)
    result = {f"train:{name}:{seed}": suite.recipe(name, seed).digest for name, seed in suite.train_jobs}
    result |= {f"eval:{name}:{seed}": suite.eval_digest(name, seed) for name, seed in suite.eval_jobs}
    result |= {
        "generate": suite.generate_digest(),
        "timing": suite.timing_digest(),
        "attention": suite.attention_digest(),
        "tables": suite.tables_digest(),
    }
    return result


def changed(repo, file, old, new):
    before = digests(repo)
    repo.edit(file, old, new)
    after = digests(repo)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def of(*names):
    return {key for key in TRAIN | EVAL if key.split(":")[1] in names}


def test_digests_are_hex_and_all_jobs_differ(repo):
    values = digests(repo)
    assert set(values) == ALL
    assert all(len(value) == 64 and int(value, 16) >= 0 for value in values.values())
    assert len(set(values.values())) == len(values)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # one value of a model configuration: those that use it, and those that start from them
        (
            "configs/models/student.yaml",
            "DISTILL: true",
            "DISTILL: false",
            of("student") | {"timing", "tables"},
        ),
        (
            "configs/models/warm.yaml",
            "MAX_ITER: 20",
            "MAX_ITER: 21",
            of("warm", "student") | {"timing", "tables"},
        ),
        ("configs/models/base.yaml", "DEPTH: 3", "DEPTH: 4", TRAIN | EVAL | {"timing", "tables"}),
        # the type of a value is part of it
        ("configs/models/student.yaml", "DISTILL: true", "DISTILL: 1", of("student") | {"timing", "tables"}),
        # what is overridden further down changes only what sees it
        (
            "configs/models/base.yaml",
            "MAX_ITER: 100",
            "MAX_ITER: 101",
            TRAIN | EVAL | {"timing", "tables"},
        ),
        # the suite
        (
            TOY,
            "init: warm, teacher: warm",
            "init: warm, teacher: baseline",
            of("student") | {"timing", "tables"},
        ),
        (TOY, "eval_seeds: [0, 1, 2]", "eval_seeds: [0, 1, 3]", EVAL | {"tables"}),
        (TOY, "sample_step: 20", "sample_step: 10", {"eval:warm:0", "eval:warm:1", "timing", "tables"}),
        (TOY, "RESTARTS: 2", "RESTARTS: 3", {"eval:student:0", "eval:student:1", "timing", "tables"}),
        (TOY, "label: Baseline", "label: Base", {"tables"}),
        (TOY, "claim: it helps", "claim: it is better", {"tables"}),
        (TOY, "epochs: 12", "epochs: 13", {"tables"}),
        (TOY, "warmup: 1", "warmup: 2", {"timing", "tables"}),
        (TOY, "nodes: [100, 200]", "nodes: [100, 300]", {"attention", "tables"}),
        (TOY, "unused: {", "unused: {opts: {A.B: 1}, ", set()),
        # how many processes share a batch, of all trainings or of one; one process is what there was before
        (TOY, "title: Toy", "title: Toy\nprocesses: 2", TRAIN | EVAL | {"timing", "tables"}),
        (TOY, "init: baseline}", "init: baseline, processes: 4}", of("warm", "student") | {"timing", "tables"}),
        # data and code
        ("configs/data/toy.yaml", "seed: 7", "seed: 8", ALL - {"attention"}),
        ("c2o_model/data/digits.py", "1", "2", ALL - {"attention"}),
        ("c2o_model/data/loader.py", "1", "2", TRAIN | EVAL | {"timing", "tables"}),
        ("c2o_model/training/run.py", "1", "2", TRAIN | EVAL | {"timing", "tables"}),
        ("c2o_model/modeling/head.py", "1", "2", TRAIN | EVAL | {"timing", "tables"}),
        ("c2o_model/evaluation/run.py", "1", "2", EVAL | {"timing", "tables"}),
        ("c2o_evidence/metrics.py", "1", "2", EVAL | {"tables"}),
        ("c2o_model/evaluation/timing.py", "1", "2", {"timing", "tables"}),
        ("c2o_model/evaluation/attention_bench.py", "1", "2", {"attention", "tables"}),
        ("c2o_evidence/stats.py", "1", "2", {"tables"}),
    ],
)
def test_one_change_reaches_exactly_its_dependants(repo, file, old, new, expected):
    assert changed(repo, file, old, new) == expected


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (TOY, "# a suite\n", "# another comment\n\n"),
        (TOY, "train_seeds: [0, 1]\n", "train_seeds:\n  - 0\n  - 1   # the second\n"),
        (
            TOY,
            "{model: configs/models/warm.yaml, init: baseline}",
            "{init: baseline, model: configs/models/warm.yaml}",
        ),
        (TOY, "eval_seeds: [0, 1, 2]", "eval_seeds: [2, 0, 1]"),
        (TOY, "title: Toy", "title: Toy\ndescription: More words"),
        (TOY, "title: Toy", "title: Toy\nprocesses: 1"),
        (TOY, "init: baseline}", "init: baseline, processes: 1}"),
        ("configs/models/base.yaml", "BASE_LR: 2e-3", "BASE_LR: 0.002"),
        ("configs/models/base.yaml", "  WIDTH: 64\n  DEPTH: 3\n", "  DEPTH: 3\n\n  WIDTH: 64  # channels\n"),
        ("configs/data/toy.yaml", "seed: 7", "seed: 7\ndescription: the same set"),
        ("c2o_model/training/run.py", "\n", "\r\n"),
    ],
)
def test_how_it_is_written_changes_nothing(repo, file, old, new):
    assert changed(repo, file, old, new) == set()


def test_another_train_seed_leaves_the_others_alone(repo):
    new = changed(repo, TOY, "train_seeds: [0, 1]", "train_seeds: [0, 1, 5]")
    assert new == {"tables"} | {f"{kind}:{n}:5" for kind in ("train", "eval") for n in ("baseline", "warm", "student")}


def test_place_and_file_names_do_not_count(repo, tmp_path):
    before = digests(repo)
    shutil.copytree(repo.root, tmp_path / "elsewhere")
    repo.root = tmp_path / "elsewhere"
    assert digests(repo) == before
    (repo.root / "configs/models/warm.yaml").rename(repo.root / "configs/models/renamed.yaml")
    repo.edit(TOY, "models/warm.yaml", "models/renamed.yaml")
    repo.edit("configs/models/student.yaml", "warm.yaml", "renamed.yaml")
    assert digests(repo) == before


def test_a_derived_suite_shares_what_it_does_not_change(repo):
    toy, small = load_suite("toy", repo.root), load_suite("small", repo.root)
    assert small.recipe("backbone", 0).digest == toy.recipe("backbone", 0).digest
    assert small.recipe("baseline", 0).digest != toy.recipe("baseline", 0).digest
    assert small.recipe("student", 0).digest != toy.recipe("student", 0).digest
