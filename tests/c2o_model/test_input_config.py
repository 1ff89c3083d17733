"""INPUT keys: what cannot be used is named before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2o_model.config import ConfigError, config_from_dict, load_config

MODELS = Path(__file__).resolve().parents[2] / "configs" / "models"
BOTH = {"INPUT.MIN_SIZE_TRAIN": [480, 512], "INPUT.MIN_SIZE_TEST": 800}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"INPUT.MIN_SIZE_TRAIN": [480]}, r"INPUT.MIN_SIZE_TEST: 0 with INPUT.MIN_SIZE_TRAIN \(480,\): resize in both"),
        ({"INPUT.MIN_SIZE_TEST": 800}, r"INPUT.MIN_SIZE_TEST: 800 with INPUT.MIN_SIZE_TRAIN \(0,\): resize in both or"),
        ({**BOTH, "INPUT.MIN_SIZE_TRAIN": [480, 0]}, r"INPUT.MIN_SIZE_TRAIN: \(480, 0\) are no sizes in pixels"),
        ({**BOTH, "INPUT.MIN_SIZE_TRAIN": []}, r"INPUT.MIN_SIZE_TRAIN: \(\) are no sizes in pixels"),
        (
            {**BOTH, "INPUT.MIN_SIZE_TRAIN": [480], "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"},
            "INPUT.MIN_SIZE_TRAIN_SAMPLING: 'range' needs two sizes",
        ),
        ({"INPUT.CROP.ENABLED": True}, "INPUT.CROP.ENABLED: True needs INPUT.MIN_SIZE_TRAIN"),
        ({**BOTH, "INPUT.CROP.SIZE": [600, 384]}, r"INPUT.CROP.SIZE: \(600, 384\) is not \(smallest, largest\) side"),
        ({"INPUT.FORMAT": "YUV"}, "INPUT.FORMAT: 'YUV' is not one of 'RGB', 'BGR'"),
        ({"INPUT.RANDOM_FLIP": "vertical"}, "INPUT.RANDOM_FLIP: 'vertical' is not one of 'none', 'horizontal'"),
    ],
)
def test_inputs_that_cannot_be_used_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(values)


@pytest.mark.parametrize("path", sorted(p for p in MODELS.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_model_configuration_of_the_repository_is_valid(path: Path) -> None:
    cfg = load_config(path)
    if path.parent.name == "coco":
        assert cfg.MODEL.DiffusionDet.NUM_PROPOSALS == 500 and cfg.INPUT.MIN_SIZE_TEST == 800 and cfg.INPUT.CROP.ENABLED
        assert tuple(range(480, 801, 32)) == cfg.INPUT.MIN_SIZE_TRAIN
    if path.parent.name == "repro10k":
        assert (cfg.MODEL.DiffusionDet.NUM_CLASSES, cfg.MODEL.DiffusionDet.NUM_PROPOSALS) == (3, 300)
    if path.parent.name == "digits":
        assert cfg.INPUT.MIN_SIZE_TRAIN == (0,) and cfg.INPUT.MIN_SIZE_TEST == 0  # never resampled
