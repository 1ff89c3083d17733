"""The suite on photographs needs no photographs to be read; VOC 2007's AP goes into runs, summary and text."""

from pathlib import Path

import pytest

from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.tables.build import build_all
from c2o_evidence.tables.rows import build_summary
from c2o_evidence.tsv import format_tsv, parse_tsv
from c2o_evidence.verify.runs import Evaluated, expected_rows

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {"ckpt_path": "train/detector/seed0/model.safetensors", "ckpt_sha256": "0" * 64, "config_sha256": "1" * 64,
            "dataset_sha256": "2" * 64, "code_sha256": "3" * 64}  # fmt: skip


@pytest.fixture
def suite() -> Suite:
    return load_suite("voc_convergence", ROOT)


def runs(suite: Suite, voc07: bool) -> list[dict]:
    """Every run of the suite; AP_voc07 is 10 * train seed + eval seed."""
    found = []
    for seed in suite.train_seeds:
        evaluated = Evaluated()
        for row in suite.rows:
            for eval_seed in suite.eval_seeds:
                metrics = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl", "AP-RBC"), 50.0)
                own = {"AP_voc07": 10.0 * seed + eval_seed, "AP_voc07-RBC": float("nan")} if voc07 else {}
                evaluated.metrics[row.exp_id, eval_seed] = {**metrics, **own}
        found += expected_rows(suite, "detector", seed, IDENTITY, evaluated, ["RBC"])
    return found


def test_both_forms_are_read_without_the_data(suite: Suite) -> None:
    assert suite.data_config["kind"] == "voc" and suite.data_config["splits"] == {"train": "trainval", "val": "test"}
    assert [row.sample_step for row in suite.rows] == [1, 4] and len(suite.train_jobs) == 3
    assert load_suite("voc_convergence_reduced", ROOT).config_of("detector")["SOLVER"]["MAX_ITER"] == 20


def test_the_columns_follow_the_detections(suite: Suite) -> None:
    rows = runs(suite, voc07=True)
    assert list(rows[0])[-3:] == ["AP-RBC", "AP_voc07", "AP_voc07-RBC"]
    again = parse_tsv(format_tsv(rows, "results"), "results")
    assert [r["AP_voc07"] for r in again[:4]] == [0.0, 1.0, 2.0, 10.0]
    assert "AP_voc07" not in runs(suite, voc07=False)[0]


def test_the_summary_has_its_mean_only_where_it_is_defined(suite: Suite) -> None:
    summary = build_summary(suite, runs(suite, voc07=True), [])
    assert [row["mean_AP_voc07"] for row in summary] == [11.0, 11.0]  # mean of 10 * (0, 1, 2) + (0, 1, 2)
    files = build_all(suite, runs(suite, voc07=True), [])
    assert "AP VOC07 |" in files["summary.md"] and "| 11.00 |" in files["summary.md"]
    assert files["summary.tsv"].split("\n")[0].endswith("\tmean_AP_voc07")
    plain = build_all(suite, runs(suite, voc07=False), [])
    assert all("voc07" not in text.lower() for text in plain.values())
