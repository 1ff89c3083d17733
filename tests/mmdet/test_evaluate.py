"""A checkpoint of C2O evaluated by mmengine's test loop: the detections of the core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from c2o_model.checkpoint import CheckpointError, save_checkpoint
from c2o_model.config import ConfigError, load_config
from c2o_model.data.coco import CocoSplit, load_manifest_split
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.mmdet3 import evaluate as in_mmdet
from c2o_model.mmdet3 import launch
from tests.mmdet.pairs import random_state

WARMSTART = "configs/models/digits/warmstart.yaml"
ROWS = [EvalRow("one", 1), EvalRow("four", 4, (("MODEL.DiffusionDet.SAMPLE_ETA", 0.0),))]


@pytest.fixture(scope="module")
def some(mini: Path) -> CocoSplit:
    """Nine images: a batch and one image more."""
    return load_manifest_split(mini, "val").select(list(range(9)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm start of random weights: label states and a quality head are in it."""
    torch.manual_seed(0)
    model = build_model(load_config(WARMSTART))
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_checkpoint(path, random_state(model.state_dict()), {})
    return path


@pytest.mark.parametrize("shorter", [0, 112])
def test_the_same_detections_in_the_same_order(some: CocoSplit, checkpoint: Path, shorter: int) -> None:
    cfg = load_config(
        WARMSTART, ["INPUT.MIN_SIZE_TRAIN", (shorter,), "INPUT.MIN_SIZE_TEST", shorter, "INPUT.MAX_SIZE_TEST", 1333]
    )
    theirs = list(in_mmdet.evaluate(cfg, checkpoint, some, ROWS, [0, 3]))
    assert [(r.exp_id, r.eval_seed) for r in theirs] == [("one", 0), ("one", 3), ("four", 0), ("four", 3)]
    alone = [run for row in ROWS for seed in (0, 3) for run in evaluate(cfg, checkpoint, some, [row], [seed])]
    together = list(evaluate(cfg, checkpoint, some, ROWS, [0, 3]))  # in which sums round otherwise
    for a, b, c in zip(alone, theirs, together, strict=True):
        assert len(a.score) > 100 and (a.exp_id, a.eval_seed) == (b.exp_id, b.eval_seed)
        for name in ("image_id", "score", "label"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert b.box.dtype == np.float32
        assert np.array_equal(a.box, b.box) if shorter == 0 else np.allclose(a.box, b.box, rtol=1e-6, atol=1e-5)
        assert np.allclose(c.score, b.score, rtol=1e-5) and np.allclose(c.box, b.box, rtol=1e-4, atol=1e-3)


def test_what_cannot_be_evaluated_is_told(
    some: CocoSplit, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(path: Path, *opts: object, config: str = WARMSTART) -> None:
        next(in_mmdet.evaluate(load_config(config, list(opts)), path, some, ROWS, [0]))

    with pytest.raises(ConfigError, match=r"NUM_CLASSES: 7, but .*val.json has 10 classes"):
        run(checkpoint, "MODEL.DiffusionDet.NUM_CLASSES", 7)
    with pytest.raises(CheckpointError, match=r"model.safetensors: has unexpected head\.label_embedding"):
        run(checkpoint, config="configs/models/digits/baseline.yaml")
    with pytest.raises(CheckpointError, match="none.safetensors"):
        run(tmp_path / "none.safetensors")
    monkeypatch.setattr(launch, "find_spec", lambda name: None if name == "mmcv" else object())
    with pytest.raises(ConfigError, match="MMDetection: mmcv is not installed; `make mmdet` installs it"):
        run(checkpoint)
