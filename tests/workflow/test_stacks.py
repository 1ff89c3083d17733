"""Rows of another stack in the real workflow: sampled, recorded, compared, and a missing stack."""

import json
from pathlib import Path

import pytest

from c2o_evidence.suite import load_suite
from c2o_evidence.tsv import read_tsv

NAME = "stacked_reduced"
# The warm start of the other reduced suites: nothing is trained for it.
SUITE = """\
name: stacked
extends: configs/chains/digits.yaml
title: "Two stacks"
eval_seeds: [0, 1]
rows:
  - {exp_id: core_1, experiment: warmstart, sample_step: 1}
  - {exp_id: core_4, experiment: warmstart, sample_step: 4}
  - {exp_id: diffusers_4, experiment: warmstart, sample_step: 4, stack: diffusers}
reduced: {train_seeds: [0], eval_seeds: [0, 1]}
"""
OTHER = SUITE.replace("stacked", "others").replace("diffusers", "mmdet")
# Modules that Python does not find, whatever is installed.
HIDDEN = "import sys\nsys.modules.update(dict.fromkeys(['diffusers', 'mmdet', 'mmengine', 'mmcv']))\n"


@pytest.fixture(scope="module")
def stacked(built_suites, tmp_path_factory):
    pytest.importorskip("diffusers", reason="Diffusers is not installed (make extras)")
    checkout = built_suites.copy(tmp_path_factory.mktemp("stacked") / "checkout")
    (checkout.path / "configs/suites/stacked.yaml").write_text(SUITE)
    checkout.build(f"deliverables/{NAME}")
    return checkout


def without_stacks(checkout, place: Path) -> None:
    place.mkdir()
    (place / "sitecustomize.py").write_text(HIDDEN)
    checkout.environment["PYTHONPATH"] = str(place)


@pytest.mark.e2e
@pytest.mark.stack_feature("evaluation", stack="diffusers")
def test_a_row_of_another_stack_is_sampled_recorded_and_compared(stacked) -> None:
    bundle = stacked.path / "deliverables" / NAME
    runs = read_tsv(bundle / "tables/runs.tsv", "results")
    assert [(run["exp_name"], run["eval_seed"]) for run in runs] == [
        (name, seed) for name in ("core_1", "core_4", "diffusers_4") for seed in (0, 1)
    ]
    (row,) = read_tsv(bundle / "parity/parity.tsv", "parity")
    assert [row[name] for name in ("exp_id", "core", "stack")] == ["diffusers_4", "core_4", "Diffusers"]
    assert row["n_runs"] == row["equal_runs"] == 2 and row["n_detections"] > 0
    assert row["unpaired"] == row["max_score_diff"] == row["max_box_diff"] == row["max_AP_diff"] == 0
    told = json.loads((bundle / "eval/warmstart/seed0/record.json").read_text())["parameters"]["stacks"]
    assert list(told) == ["diffusers"] and told["diffusers"]["rows"] == ["diffusers_4"]
    suite = load_suite(NAME, stacked.path)
    assert told["diffusers"]["sha256"] == suite.stack_digest("diffusers")
    shown = stacked.c2o("show", f"{NAME}:diffusers_4")
    assert f"sampled by Diffusers (diffusers {told['diffusers']['versions']['diffusers']})" in shown.stdout
    assert "sampled by" not in stacked.c2o("show", f"{NAME}:core_4").stdout
    log = (stacked.path / "logs" / NAME / "train/warmstart/seed0.log").read_text()
    assert log.startswith("not trained again") and stacked.planned(f"deliverables/{NAME}") == []


@pytest.mark.e2e
def test_a_bundle_is_read_where_its_stack_is_not_installed_but_not_replayed(stacked, tmp_path) -> None:
    checkout = stacked.copy(tmp_path / "checkout")
    without_stacks(checkout, tmp_path / "hidden")
    assert checkout.planned(f"deliverables/{NAME}") == [], "what is made needs nothing"
    told = "rows of stack diffusers need diffusers, which cannot be found; type `make extras`"
    done = checkout.evidence("verify", f"deliverables/{NAME}", "--level", "eval")
    assert done.returncode == 2 and f"--level eval: {told}; then type the command again" in done.stderr


def test_a_stack_that_is_not_installed_is_said_before_anything_is_trained(fresh, tmp_path) -> None:
    (fresh.path / "configs/suites/others.yaml").write_text(OTHER)
    without_stacks(fresh, tmp_path / "hidden")
    done = fresh.run("deliverables/others")
    told = "rows of stack mmdet need mmcv, mmdet, mmengine, which cannot be found; type `make mmdet`"
    assert done.returncode != 0 and f"Error: configs/suites/others.yaml: {told}\n" in done.stdout
    assert "Traceback" not in done.stdout and not (fresh.path / "results/others").exists()
    done = fresh.evidence("run", "others")
    assert done.returncode != 0 and told in done.stdout + done.stderr
