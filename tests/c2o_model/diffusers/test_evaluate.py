"""Evaluation by the pipeline against the core's, byte by byte, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2o_model.checkpoint import CheckpointError, save_checkpoint
from c2o_model.config import ConfigError
from c2o_model.diffusers import evaluate as module
from c2o_model.diffusers.evaluate import evaluate
from c2o_model.evaluation.run import EvalRow
from c2o_model.evaluation.run import evaluate as core
from tests.c2o_model.diffusers.conftest import KINDS
from tests.c2o_model.evaluation.test_resized import write

D = "MODEL.DiffusionDet."
ROWS = [
    EvalRow("one", 1),
    EvalRow("four", 4, ((D + "SAMPLE_ETA", 0.5),)),
    EvalRow("again", 2, ((D + "SAMPLE_RESTARTS", 2), (D + "QUALITY_SCORE_REWEIGHT", False), (D + "USE_NMS", False))),
]


def checkpoint_of(detector: Any, path: Path) -> Path:
    save_checkpoint(path, detector.state_dict(), {})
    return path


def same(cfg: Any, checkpoint: Path, split: Any, batch_size: int) -> None:
    seeds = [4, 0]
    found = list(evaluate(cfg, checkpoint, split, ROWS, seeds, batch_size))
    expected = list(core(cfg, checkpoint, split, ROWS, seeds, batch_size))
    assert [(run.exp_id, run.eval_seed) for run in found] == [(row.exp_id, s) for row in ROWS for s in seeds]
    for one, other in zip(found, expected, strict=True):
        assert (one.exp_id, one.eval_seed) == (other.exp_id, other.eval_seed)
        for part in ("image_id", "box", "score", "label"):
            a, b = getattr(one, part), getattr(other, part)
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), part
        assert len(one.score) > len(split)


@pytest.mark.parametrize("kind", ["plain", "hard", "gaussian"])
def test_it_is_the_cores_evaluation(
    make_detector: Any, make_config: Any, tiny_split: Any, tmp_path: Path, kind: str
) -> None:
    keys = {**KINDS[kind], "QUALITY_HEAD": True, "SAMPLE_ETA": 0.75}
    checkpoint = checkpoint_of(make_detector(**keys), tmp_path / "m.safetensors")
    same(make_config(**keys), checkpoint, tiny_split, 5)


def test_also_of_pictures_that_are_resized(make_detector: Any, make_config: Any, tmp_path: Path) -> None:
    values = {"INPUT.MIN_SIZE_TRAIN": (48,), "INPUT.MIN_SIZE_TEST": 48, "TEST.DETECTIONS_PER_IMAGE": 5}
    rng = np.random.default_rng(1)
    sizes = [(64, 96), (64, 96), (96, 64), (48, 72)]
    split = write(tmp_path / "set", [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes])
    checkpoint = checkpoint_of(make_detector(values, QUALITY_HEAD=True), tmp_path / "m.safetensors")
    same(make_config(values, QUALITY_HEAD=True), checkpoint, split, 2)


def test_what_cannot_be_evaluated(
    make_detector: Any, make_config: Any, tiny_split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, checkpoint = make_config(), checkpoint_of(make_detector(), tmp_path / "m.safetensors")

    def go(cfg: Any = cfg, path: Path = checkpoint, row: EvalRow = ROWS[0]) -> None:
        list(evaluate(cfg, path, tiny_split, [row], [0]))

    with pytest.raises(ConfigError, match="NUM_CLASSES: 4, but .*set.json has 3 classes"):
        go(make_config(NUM_CLASSES=4))
    with pytest.raises(ConfigError, match="OTA_K: is no test-time key"):
        go(row=EvalRow("x", 1, ((D + "OTA_K", 3),)))
    with pytest.raises(CheckpointError, match="lacks head.quality_head"):
        go(make_config(QUALITY_HEAD=True))
    with pytest.raises(CheckpointError, match="nowhere.safetensors: no such file"):
        go(path=tmp_path / "nowhere.safetensors")
    monkeypatch.setattr(module.comm, "get_world_size", lambda: 2)
    with pytest.raises(
        ConfigError, match="stack: diffusers evaluates in one process; start it without a process group"
    ):
        go()
