"""The suite `stack_parity`, reduced, through the real workflow: three stacks in one deliverable."""

import json
import math

import pytest

from c2o_evidence.tsv import read_tsv
from tests.workflow.conftest import Checkout

NAME = "stack_parity_reduced"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout.create(tmp_path_factory.mktemp("parity") / "checkout", stubs=False)
    checkout.build(f"deliverables/{NAME}")
    return checkout


@pytest.mark.stack_feature("evaluation", stack="mmdet")
def test_three_stacks_enter_one_deliverable(built: Checkout) -> None:
    bundle = built.path / "deliverables" / NAME
    rows = {row["exp_id"]: row for row in read_tsv(bundle / "parity/parity.tsv", "parity")}
    assert len(rows) == 6
    for name, row in rows.items():
        assert row["n_runs"] == 2 and row["n_detections"] > 0
        if name.endswith("_diffusers"):
            assert row["equal_runs"] == 2, name
        else:  # the same network by another library's layers: rounding, and what rounding makes of a threshold
            assert row["max_score_diff"] < 1e-3 and row["max_box_diff"] < 1e-3, name
            assert row["unpaired"] <= 0.02 * row["n_detections"], name
    runs = read_tsv(bundle / "tables/runs.tsv", "results")
    assert len(runs) == 9 * 2 and not any(math.isnan(run["AP"]) for run in runs)
    told = json.loads((bundle / "eval/warmstart/seed0/record.json").read_text())["parameters"]["stacks"]
    assert set(told["mmdet"]["versions"]) == {"mmcv", "mmdet", "mmengine"}


def test_the_deliverable_is_evaluated_again(built: Checkout) -> None:
    done = built.evidence("verify", f"deliverables/{NAME}", "--level", "eval", "--json")
    assert json.loads(done.stdout)["replay"]["counts"]["bit-exact"] == 18, done.stderr
