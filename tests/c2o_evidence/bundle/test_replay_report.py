"""What a replay tells: findings, JSON and lines of hand-made verdicts; and how like two checkpoints are."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from c2o_evidence.errors import DigestError
from c2o_evidence.suite import Tolerances
from c2o_evidence.verify.findings import Report
from c2o_evidence.verify.replay.checkpoints import CheckpointVerdict, compare_checkpoints
from c2o_evidence.verify.replay.reasons import Reason
from c2o_evidence.verify.replay.result import ReplayResult, RunVerdict, TableVerdict
from c2o_evidence.verify.replay.text import describe_replay, summary
from c2o_evidence.verify.replay.verdicts import Delta, Judged

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
CODE = Reason("code digest (evaluate)", "c" * 64, "d" * 64)
FAR = Judged("differs", (Delta("AP", 50.0, 48.0, 0.5), Delta("AP50", 70.0, 70.25, 0.5)))
NEAR = Judged("within-tolerance", (Delta("AP", 50.0, 50.25, 0.5),))


def result(level: str = "eval", **more: object) -> ReplayResult:
    runs = [
        RunVerdict("base_1", "baseline", 0, 0, Judged("bit-exact"), True),
        RunVerdict("base_1", "baseline", 0, 1, NEAR, False, (CODE,)),
        RunVerdict("base_1", "baseline", 1, 0, FAR, False, (CODE,)),
        RunVerdict("base_1", "baseline", 1, 1, Judged("not-replayed"), log="logs/toy/evaluate/baseline/seed1.log"),
    ]
    return ReplayResult(level, Tolerances({"AP": 0.5, "AP50": 0.5}), runs, seconds=65.0, **more)


def test_findings_name_row_column_and_both_values() -> None:
    differs, lost = result().all_findings()
    assert str(differs) == (
        "not-reproduced: eval/baseline/seed1/results.tsv: row exp_name=base_1, train_seed=1, eval_seed=0: column AP: "
        "is -2 away, tolerance 0.5; 1 of its metrics beyond theirs (expected 50.0, found 48.0)"
    )
    assert (lost.kind, lost.row) == ("not-replayed", "exp_name=base_1, train_seed=1, eval_seed=1")
    assert lost.found == "logs/toy/evaluate/baseline/seed1.log"


def test_a_table_row_that_differs_is_a_finding() -> None:
    found = list(result("train", tables=[TableVerdict("base_1", 4, FAR)]).all_findings())
    assert [(f.path, f.row, f.column) for f in found if f.path.startswith("tables")] == [
        ("tables/summary.tsv", "exp_id=base_1", "mean_AP")
    ]


def test_other_detections_with_the_same_metrics_are_named() -> None:
    run = RunVerdict("base_1", "baseline", 0, 0, Judged("differs"))
    (finding,) = ReplayResult("eval", Tolerances(), [run]).all_findings()
    assert finding.path == "eval/baseline/seed0/detections.safetensors"
    assert finding.message == "the detections are others, though the metrics are the same"


def test_lines_for_a_reader() -> None:
    lines = describe_replay(result())
    assert lines[0] == "4 runs evaluated again in 1m05s:"
    assert lines[2].split() == ["base_1", "4", "1", "1", "1", "1", "AP", "-2", "(tolerance", "0.5)"]
    assert "  code digest (evaluate): cccccccccccc in the bundle, dddddddddddd here (2 of 3 runs)" in lines
    assert summary(result()) == "1 bit-exact, 1 within tolerance, 1 differs, 1 not replayed"


def test_a_difference_without_a_reason_is_said_to_be_one() -> None:
    run = RunVerdict("base_1", "baseline", 1, 0, FAR)
    assert (
        "nothing that the records hold is another here"
        in describe_replay(ReplayResult("eval", Tolerances(), [run]))[-1]
    )


def test_checkpoints_are_counted_and_their_metadata_named() -> None:
    checkpoints = [
        CheckpointVerdict("train/a/seed0/model.safetensors", "same-file"),
        CheckpointVerdict("train/a/seed1/model.safetensors", "same-weights", ("code_sha256", "recipe_sha256")),
    ]
    lines = describe_replay(result("train", checkpoints=checkpoints))
    assert "checkpoints trained again: 1 same file, 1 same weights" in lines
    assert "  same weights, other metadata (code_sha256, recipe_sha256): 1" in lines


def test_the_report_as_json_has_an_entry_a_run() -> None:
    report = Report("toy", "eval", replay=result())
    report.add(report.replay.all_findings())
    document = json.loads(report.to_json())
    assert [run["verdict"] for run in document["replay"]["runs"]] == [
        "bit-exact", "within-tolerance", "differs", "not-replayed"
    ]  # fmt: skip
    assert document["replay"]["runs"][2]["deltas"]["AP"] == {
        "bundle": 50.0, "here": 48.0, "delta": -2.0, "tolerance": 0.5
    }  # fmt: skip
    assert document["replay"]["runs"][1]["reasons"][0]["what"] == "code digest (evaluate)"
    undefined = RunVerdict("base_1", "baseline", 0, 0, Judged("differs", (Delta("APl", math.nan, 1.0, 0.0),)))
    json.loads(json.dumps(ReplayResult("eval", Tolerances(), [undefined]).to_dict(), allow_nan=False))
    assert "replay" not in Report("toy", "tables").to_dict()


@pytest.mark.parametrize(
    ("weights", "metadata", "expected"),
    [
        (WEIGHTS, {"code": "1", "seed": "0"}, ("same-file", ())),
        (WEIGHTS, {"code": "2", "seed": "0"}, ("same-weights", ("code",))),
        (WEIGHTS, {"seed": "0", "new": "x"}, ("same-weights", ("code", "new"))),
        ({**WEIGHTS, "b": np.zeros(2, np.float32)}, {"code": "1", "seed": "0"}, ("another-file", ())),
        ({**WEIGHTS, "a": WEIGHTS["a"].reshape(3, 2)}, {"code": "1", "seed": "0"}, ("another-file", ())),
        ({"a": WEIGHTS["a"], "c": WEIGHTS["b"]}, {"code": "2", "seed": "0"}, ("another-file", ("code",))),
    ],
)
def test_likeness_of_checkpoints(tmp_path: Path, weights: dict, metadata: dict, expected: tuple) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_file(WEIGHTS, one, metadata={"code": "1", "seed": "0"})
    save_file(weights, other, metadata=metadata)
    if expected[0] == "same-file":  # the library does not order metadata
        other.write_bytes(one.read_bytes())
    assert compare_checkpoints(one, other) == expected


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100)
    save_file(WEIGHTS, tmp_path / "other")
    with pytest.raises(DigestError, match="one: is not a safetensors file, or is cut off"):
        compare_checkpoints(tmp_path / "one", tmp_path / "other")
