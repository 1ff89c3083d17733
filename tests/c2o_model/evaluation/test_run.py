"""Many seeds in one pass are the seeds one at a time; AP is the published AP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2o_evidence.detections import Detections as StoredDetections
from c2o_evidence.metrics import GroundTruth
from c2o_model.checkpoint import CheckpointError
from c2o_model.config import ConfigError
from c2o_model.evaluation.coco_ap import coco_results, print_ap
from c2o_model.evaluation.run import EvalRow, RunDetections, evaluate

D = "MODEL.DiffusionDet."
ROWS = [
    EvalRow("one", 1),
    EvalRow("four", 4),
    EvalRow("again", 1, ((D + "SAMPLE_RESTARTS", 3),)),
    EvalRow("quality", 2, ((D + "QUALITY_SCORE_REWEIGHT", True), (D + "USE_NMS", False))),
]


@pytest.fixture(scope="module")
def runs(config: Any, checkpoint: Path, tiny_split: Any) -> list[RunDetections]:
    return list(evaluate(config, checkpoint, tiny_split, ROWS, [0, 1, 2]))


def same(a: RunDetections, b: RunDetections) -> None:
    assert (a.exp_id, a.eval_seed) == (b.exp_id, b.eval_seed)
    assert np.array_equal(a.image_id, b.image_id) and np.array_equal(a.label, b.label)
    np.testing.assert_allclose(a.score, b.score, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.box, b.box, rtol=1e-5, atol=64e-5)


def test_rows_then_seeds_in_order_with_exact_types(runs: list[RunDetections], tiny_split: Any) -> None:
    assert [(r.exp_id, r.eval_seed) for r in runs] == [(row.exp_id, s) for row in ROWS for s in (0, 1, 2)]
    for run in runs:
        assert (run.image_id.dtype, run.box.dtype, run.score.dtype, run.label.dtype) == (
            np.int64,
            np.float32,
            np.float32,
            np.int64,
        )
        assert len(run.image_id) == len(run.box) == len(run.score) == len(run.label) > 0
        order = [tiny_split.image_ids.index(i) for i in run.image_id]
        assert order == sorted(order) and set(run.label.tolist()) <= {0, 1, 2}
        for image in set(run.image_id.tolist()):
            scores = run.score[run.image_id == image]
            assert (np.diff(scores) <= 0).all() and len(scores) <= 100
        assert (run.box >= 0).all() and (run.box <= 64).all() and (run.box[:, 2:] > run.box[:, :2]).all()


def test_many_seeds_in_one_pass_are_the_seeds_one_at_a_time(
    runs: list[RunDetections], config: Any, checkpoint: Path, tiny_split: Any
) -> None:
    """Other batch size, one row and one seed a pass."""
    for r, row in enumerate(ROWS):
        for s in (0, 2):
            (alone,) = evaluate(config, checkpoint, tiny_split, [row], [s], batch_size=1)
            same(alone, runs[3 * r + s])


def test_the_order_of_images_plays_no_part(
    runs: list[RunDetections], config: Any, checkpoint: Path, tiny_split: Any
) -> None:
    backwards = tiny_split.select(list(range(len(tiny_split)))[::-1])
    (found,) = evaluate(config, checkpoint, backwards, [ROWS[1]], [1], batch_size=5)
    for image in tiny_split.image_ids:
        a, b = found.image_id == image, runs[4].image_id == image
        np.testing.assert_allclose(found.score[a], runs[4].score[b], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.box[a], runs[4].box[b], rtol=1e-5, atol=64e-5)


def test_the_attention_kernels_are_told(config: Any, checkpoint: Path, tiny_split: Any) -> None:
    told: list[str] = []
    next(evaluate(config, checkpoint, tiny_split.select([0]), ROWS[:1], [0], attention=told.extend))
    assert told == ["torch", "torch"]  # one a stage


def test_rows_and_seeds_differ(runs: list[RunDetections]) -> None:
    assert len({run.score.tobytes() for run in runs}) == len(runs)


def test_ap_is_the_published_ap(runs: list[RunDetections], tiny_split: Any, capsys: pytest.CaptureFixture[str]) -> None:
    truth = GroundTruth.load(tiny_split.annotation)
    values = []
    for run in runs[::3]:
        stored = StoredDetections.from_arrays(vars(run))
        expected = truth.evaluate(stored, tiny_split.class_names)["AP"]
        values.append(print_ap(tiny_split, run))
        assert values[-1] == pytest.approx(expected, abs=1e-9)
    assert max(values) > 0.1, "the tiny detector found nothing: the comparison is empty"
    assert "Average Precision" in capsys.readouterr().out


def test_results_have_the_files_own_categories(runs: list[RunDetections], tiny_split: Any) -> None:
    results = coco_results(tiny_split, runs[0])
    assert {r["category_id"] for r in results} <= {1, 3, 5}
    first, box = results[0], runs[0].box[0]
    assert first["bbox"] == pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]])
    assert first["category_id"] == 2 * runs[0].label[0] + 1 and first["image_id"] == runs[0].image_id[0]


def test_no_detection_is_no_ap(tiny_split: Any) -> None:
    none = RunDetections(
        "x", 0, np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    )
    assert np.isnan(print_ap(tiny_split, none))


def test_progress_counts_images(config: Any, checkpoint: Path, tiny_split: Any) -> None:
    seen: list[tuple[int, int]] = []
    list(evaluate(config, checkpoint, tiny_split, [ROWS[0]], [0], 5, lambda done, total: seen.append((done, total))))
    assert seen == [(5, 12), (10, 12), (12, 12)]


def test_what_cannot_be_evaluated(
    config: Any, make_config: Any, checkpoint: Path, tiny_split: Any, tmp_path: Path
) -> None:
    def go(cfg: Any = config, path: Path = checkpoint, row: EvalRow = ROWS[0]) -> None:
        list(evaluate(cfg, path, tiny_split, [row], [0]))

    with pytest.raises(ConfigError, match="NUM_CLASSES: 4, but .*set.json has 3 classes"):
        go(make_config(NUM_CLASSES=4))
    with pytest.raises(ConfigError, match="OTA_K: is no test-time key"):
        go(row=EvalRow("x", 1, ((D + "OTA_K", 3),)))
    with pytest.raises(ConfigError, match="SAMPLE_STEP: 2000 exceeds DIFFUSION_TIMESTEPS 1000"):
        go(row=EvalRow("x", 2000))
    with pytest.raises(CheckpointError, match="has unexpected head.quality_head"):
        go(make_config())
    broken = tmp_path / "m.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:-1])
    broken.with_name("m.safetensors.sha256").write_bytes(checkpoint.with_name("m.safetensors.sha256").read_bytes())
    with pytest.raises(CheckpointError, match="m.safetensors: sha256 is .* it is not loaded"):
        go(path=broken)
