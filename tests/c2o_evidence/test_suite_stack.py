"""Rows of other stacks: what their digests hold, what is refused, what is asked of the machine."""

import hashlib
import json
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import yaml

from c2o_evidence import suite_stack
from c2o_evidence.code import code_digest
from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import load_resolved_suite, load_suite
from c2o_evidence.suite_stack import STACKS, lacking, twins
from c2o_evidence.verify.replay.room import suite_text

TOY = "configs/suites/toy.yaml"
WARM = "{exp_id: warm_20, experiment: warm, sample_step: 20}"
OTHER = "{exp_id: warm_20_d, experiment: warm, sample_step: 20, stack: diffusers}"
PINS = "diffusers==0.42.1 \\\n    --hash=sha256:00\nwandb==1.0\n"


def digests(repo):
    suite = load_suite("toy", repo.root)
    found = {f"train:{job}": suite.recipe(*job).digest for job in suite.train_jobs}
    found |= {f"eval:{name}:{seed}": suite.eval_digest(name, seed) for name, seed in suite.eval_jobs}
    return found | {"tables": suite.tables_digest(), "attention": suite.attention_digest()}


@pytest.fixture
def stacked(repo):
    """The toy suite without times, and with a row of Diffusers."""
    repo.edit(TOY, "timing: {images: 4, batch: 2, warmup: 1, repeats: 3, train_seed: 0}\n", "")
    repo.edit(TOY, f"  - {WARM}\n", f"  - {WARM}\n  - {OTHER}\n")
    repo.write("c2o_model/diffusers/evaluate.py", "evaluate = 1\n")
    repo.write("requirements/extras.txt", PINS)
    return repo


def test_the_core_is_never_written(repo):
    before, text = digests(repo), load_suite("toy", repo.root).to_yaml()
    repo.edit(TOY, WARM, WARM.replace("}", ", stack: detectron2}"))
    assert digests(repo) == before and load_suite("toy", repo.root).to_yaml() == text


def test_another_stack_changes_the_evaluations_that_have_its_rows(stacked):
    before = digests(stacked)
    stacked.edit(TOY, ", stack: diffusers}", "}")
    after = digests(stacked)
    assert {key for key in before if before[key] != after[key]} == {"eval:warm:0", "eval:warm:1", "tables"}


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("c2o_model/diffusers/evaluate.py", "1", "2", True),
        ("requirements/extras.txt", "diffusers==0.42.1", "diffusers==0.43.0", True),
        ("requirements/extras.txt", "wandb==1.0", "wandb==1.1", False),
        ("requirements/extras.txt", "sha256:00", "sha256:11", False),
    ],
)
def test_sources_and_pins_of_a_stack_evaluate_its_rows_again(stacked, file, old, new, changes):
    before = digests(stacked)
    stacked.edit(file, old, new)
    after = digests(stacked)
    expected = {"eval:warm:0", "eval:warm:1", "tables"} if changes else set()
    assert {key for key in before if before[key] != after[key]} == expected


def test_no_suite_of_the_project_has_other_digests_for_it():
    """The digest of an evaluation without other stacks is the hash of what it always was the hash of."""
    root = Path(__file__).resolve().parents[2]
    suite = load_suite("step1_5seed", root)
    row = suite.row("baseline_1")
    assert row.stack == "detectron2" and "stack" not in suite.to_yaml() and not suite.parity
    decided = {
        "kind": "evaluate",
        "recipe": suite.recipe("baseline", 0).digest,
        "rows": sorted([[r.exp_id, r.sample_step, dict(r.opts)] for r in suite.rows_of("baseline")]),
        "eval_seeds": [0, 1, 2, 3, 4],
        "code": code_digest(root, "evaluate"),
    }
    text = json.dumps(decided, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert suite.eval_digest("baseline", 0) == hashlib.sha256(text.encode()).hexdigest()


def test_a_stack_without_its_pin(stacked):
    stacked.edit("requirements/extras.txt", "diffusers==", "diffuser==")
    what = "requirements/extras.txt: pins no version of diffusers, which rows of stack diffusers need; add it"
    with pytest.raises(SuiteError, match=what):
        load_suite("toy", stacked.root).eval_digest("warm", 0)


def test_a_resolved_suite_says_the_stack(stacked, tmp_path):
    suite = load_suite("toy", stacked.root)
    (tmp_path / "suite.yaml").write_text(suite.to_yaml())
    resolved = load_resolved_suite(tmp_path / "suite.yaml")
    assert resolved.row("warm_20_d").stack == "diffusers" and resolved.to_yaml() == suite.to_yaml()
    with pytest.raises(SuiteError, match="was read from a bundle"):
        resolved.stack_digest("diffusers")


def test_a_replay_samples_each_row_in_its_stack(stacked, tmp_path):
    (tmp_path / "suite.yaml").write_text(load_suite("toy", stacked.root).to_yaml())
    rows = yaml.safe_load(suite_text(load_resolved_suite(tmp_path / "suite.yaml")))["rows"]
    stacks = {row["exp_id"]: row["stack"] for row in rows}
    assert (stacks["warm_20"], stacks["warm_20_d"]) == ("detectron2", "diffusers")


def test_twins_share_checkpoint_steps_and_options(stacked):
    stacked.edit(TOY, f"  - {OTHER}\n", f"  - {OTHER}\n  - {OTHER.replace('warm_20_d', 'b').replace('20,', '5,')}\n")
    stacked.edit(
        TOY, f"  - {OTHER}\n", f"  - {OTHER}\n  - {OTHER.replace('warm_20_d', 'c').replace('}', ', opts: {A: 1}}')}\n"
    )
    suite = load_suite("toy", stacked.root)
    assert [(row.exp_id, core.exp_id) for row, core in twins(suite)] == [("warm_20_d", "warm_20")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "timing: {images: 4, batch: 2, warmup: 1, repeats: 3, train_seed: 0}",
            "timing: times all rows in Detectron2, and 'warm_20_d' is of stack diffusers; remove it, or",
        ),
        (
            "gallery: {rows: [warm_20, warm_20_d], images: 1}",
            r"gallery.rows\[1\]: 'warm_20_d' is of stack diffusers, and pictures are made in Detectron2; name a row",
        ),
    ],
)
def test_time_and_pictures_are_of_the_core(stacked, line, message):
    stacked.edit(TOY, "speedups:", f"{line}\nspeedups:")
    with pytest.raises(SuiteError, match=message):
        load_suite("toy", stacked.root)


def test_an_unknown_stack(stacked):
    stacked.edit(TOY, "stack: diffusers", "stack: keras")
    with pytest.raises(SuiteError, match=r"rows\[2\].stack: 'keras' .*detectron2.*diffusers.*mmdet"):
        load_suite("toy", stacked.root)


def test_what_a_stack_lacks_is_said_with_what_to_type(monkeypatch, tmp_path):
    there = {"mmengine": None, "mmdet": None, "mmcv": [str(tmp_path)]}

    def find_spec(name):
        spec = ModuleSpec(name, None)
        spec.submodule_search_locations = there.get(name)
        return spec if name in there else None

    monkeypatch.setattr(suite_stack, "find_spec", find_spec)
    assert lacking(["diffusers"]) == "rows of stack diffusers need diffusers, which cannot be found; type `make extras`"
    assert lacking(["mmdet"]) == "rows of stack mmdet need mmcv, which cannot be found; type `make mmdet`"
    (tmp_path / "_ext.cpython-311-x86_64-linux-gnu.so").touch()  # its compiled operations
    assert lacking(["mmdet"]) == lacking([]) == ""
    del there["mmengine"], there["mmdet"]
    assert lacking(["mmdet"]).startswith("rows of stack mmdet need mmdet, mmengine, which cannot be found")
    assert set(STACKS) == {"diffusers", "mmdet"}
