"""Arms and the reduced form: what they stand for, written out by hand, and what a user reads when they are wrong."""

import pytest

from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import Comparison, Experiment, SuiteRow, load_resolved_suite, load_suite

ABLATION = "configs/suites/ablation.yaml"
TEXT = """\
name: ablation
title: Ablation
extends: configs/chains/chain.yaml
eval_seeds: [0, 1]
rows:
  - {exp_id: base_8, experiment: baseline, sample_step: 8}
arms:
  model: configs/models/warm.yaml
  init: baseline
  opts: {SOLVER.MAX_ITER: 30, SOLVER.BASE_LR: 0.5}
  test_opts: {MODEL.RESTARTS: 3}
  sample_steps: [1, 4]
  control: plain
  each:
    plain: {label: "Control"}
    deep:
      label: Deep
      claim: depth helps
      opts: {MODEL.DEPTH: 9, SOLVER.BASE_LR: 0.25}
      test_opts: {MODEL.RESTARTS: 2}
    old: {experiment: baseline}
reduced:
  train_seeds: [0]
  opts: {SOLVER.MAX_ITER: 2}
  experiments: {deep: {opts: {SOLVER.MAX_ITER: 3}}}
  max_steps: 3
  timing: {repeats: 1}
"""
CHAIN = """\
dataset: configs/data/toy.yaml
train_seeds: [0, 1]
experiments:
  baseline: {model: configs/models/base.yaml}
"""


@pytest.fixture
def ablation(repo):
    repo.write(ABLATION, TEXT)
    repo.write("configs/chains/chain.yaml", CHAIN)
    return repo


def test_an_arm_is_an_experiment_its_rows_and_its_comparisons(ablation) -> None:
    suite = load_suite("ablation", ablation.root)
    common = {"SOLVER.MAX_ITER": 30, "SOLVER.BASE_LR": 0.5}
    warm = "configs/models/warm.yaml"
    assert suite.experiments == {
        "baseline": Experiment("baseline", "configs/models/base.yaml"),
        "plain": Experiment("plain", warm, common, "baseline"),
        "deep": Experiment("deep", warm, {**common, "MODEL.DEPTH": 9, "SOLVER.BASE_LR": 0.25}, "baseline"),
    }
    three = {"MODEL.RESTARTS": 3}
    assert suite.rows == (
        SuiteRow("base_8", "baseline", 8, {}, "base_8"),
        SuiteRow("plain_1", "plain", 1, three, "Control, 1 step"),
        SuiteRow("plain_4", "plain", 4, three, "Control, 4 steps"),
        SuiteRow("deep_1", "deep", 1, {"MODEL.RESTARTS": 2}, "Deep, 1 step"),
        SuiteRow("deep_4", "deep", 4, {"MODEL.RESTARTS": 2}, "Deep, 4 steps"),
        SuiteRow("old_1", "baseline", 1, three, "old, 1 step"),
        SuiteRow("old_4", "baseline", 4, three, "old, 4 steps"),
    )
    assert suite.comparisons == (
        Comparison("deep_1", "plain_1", "depth helps"),
        Comparison("deep_4", "plain_4", "depth helps"),
        Comparison("old_1", "plain_1"),
        Comparison("old_4", "plain_4"),
    )
    assert suite.config_of("deep") == {
        "MODEL": {"WIDTH": 64, "DEPTH": 9},
        "SOLVER": {"MAX_ITER": 30, "BASE_LR": 0.25},
    }


def test_the_same_training_in_two_suites_has_one_recipe(ablation) -> None:
    ablation.edit(ABLATION, "experiment: baseline}", "experiment: baseline, label: Old}")
    ours, toy = load_suite("ablation", ablation.root), load_suite("toy", ablation.root)
    toy_warm = toy.config_of("warm")
    assert ours.config_of("plain") != toy_warm
    ablation.edit(ABLATION, "  opts: {SOLVER.MAX_ITER: 30, SOLVER.BASE_LR: 0.5}\n", "")
    ablation.edit(
        "configs/chains/chain.yaml",
        "base.yaml}",
        "base.yaml, init: root}\n  root: {model: configs/models/base.yaml, shared: true}",
    )
    ours = load_suite("ablation", ablation.root)
    assert ours.recipe("plain", 1).digest == toy.recipe("warm", 1).digest, "another name, the same training"
    assert ours.recipe("plain", 0).digest != toy.recipe("warm", 1).digest


def test_the_reduced_form_has_the_same_rows_on_another_budget(ablation) -> None:
    full, small = load_suite("ablation", ablation.root), load_suite("ablation_reduced", ablation.root)
    assert (small.name, small.train_seeds, small.eval_seeds) == ("ablation_reduced", (0,), (0, 1))
    assert "its numbers mean nothing" in small.title
    assert small.timing is None, "a section that the suite lacks stays away"
    assert [row.exp_id for row in small.rows] == [row.exp_id for row in full.rows]
    assert [row.sample_step for row in small.rows] == [3, 1, 3, 1, 3, 1, 3]
    iterations = {name: small.config_of(name)["SOLVER"]["MAX_ITER"] for name in small.experiments}
    assert iterations == {"baseline": 2, "plain": 2, "deep": 3}
    assert small.config_of("deep")["MODEL"]["DEPTH"] == 9
    assert small.comparisons == full.comparisons


def test_a_resolved_suite_has_neither_arms_nor_reduced(ablation, tmp_path) -> None:
    for name in ("ablation", "ablation_reduced"):
        text = load_suite(name, ablation.root).to_yaml()
        assert "arms:" not in text and "reduced:" not in text
        (tmp_path / "suite.yaml").write_text(text)
        assert load_resolved_suite(tmp_path / "suite.yaml").to_yaml() == text


def test_an_attention_benchmark_needs_no_rows(repo, tmp_path) -> None:
    text = (
        "name: bench\nattention: {nodes: [10, 20], heads: 2, dim: 8, repeats: 1}\nreduced: {attention: {nodes: [5]}}\n"
    )
    repo.write("configs/suites/bench.yaml", text)
    suite = load_suite("bench", repo.root)
    assert (suite.rows, suite.train_jobs, suite.eval_jobs, suite.data_name) == ((), (), (), "")
    assert load_suite("bench_reduced", repo.root).attention.nodes == (5,)
    (tmp_path / "suite.yaml").write_text(suite.to_yaml())
    assert load_resolved_suite(tmp_path / "suite.yaml").attention == suite.attention
    repo.write(
        "configs/suites/bench.yaml", text + "timing: {images: 1, batch: 1, warmup: 0, repeats: 1, train_seed: 0}\n"
    )
    with pytest.raises(SuiteError, match="bench.yaml: timing: there are no rows to time; remove it"):
        load_suite("bench", repo.root)
    repo.write("configs/suites/bench.yaml", text + "dataset: configs/data/toy.yaml\n")
    with pytest.raises(SuiteError, match="bench.yaml: eval_seeds: is missing; add it"):
        load_suite("bench", repo.root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("control: plain", "control: plan", "arms.control: 'plan' is not an arm; did you mean 'plain'?"),
        (
            "old: {experiment: baseline}",
            "old: {experiment: base}",
            "arms.each.old.experiment: 'base' is not an experiment",
        ),
        ("old: {experiment: baseline}", "baseline: {}", "arms.each.baseline: 'baseline' is an experiment already"),
        (
            "experiment: baseline}\nred",
            "experiment: baseline, opts: {A: 1}}\nred",
            "arms.each.old.opts: is of the training",
        ),
        ("  model: configs/models/warm.yaml\n", "", "arms.each.plain.model: is missing; add it here or to arms"),
        ('label: "Control"', "claim: x", "arms.each.plain.claim: the control is not compared with itself"),
        ("label: Deep", "lable: Deep", "arms.each.deep.lable: unknown key; did you mean 'label'?"),
        ("max_steps: 3", "max_step: 3", "reduced.max_step: unknown key; did you mean 'max_steps'?"),
    ],
)
def test_faults_name_the_arm(ablation, old: str, new: str, message: str) -> None:
    ablation.edit(ABLATION, old, new)
    with pytest.raises(SuiteError) as caught:
        load_suite("ablation", ablation.root)
    assert str(caught.value).startswith(f"{ABLATION}: {message}"), str(caught.value)


def test_a_suite_without_a_reduced_section_has_no_reduced_form(repo) -> None:
    with pytest.raises(SuiteError, match=r"toy.yaml: reduced: is missing, so there is no toy_reduced; add it"):
        load_suite("toy_reduced", repo.root)
    with pytest.raises(SuiteError, match=r"configs/suites/nosuch_reduced.yaml: does not exist"):
        load_suite("nosuch_reduced", repo.root)
