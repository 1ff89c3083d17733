"""Configurations of C2O in MMDetection's words, and what has none."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2o_model.config import ConfigError, load_config
from c2o_model.mmdet3 import from_c2o
from c2o_model.mmdet3.from_c2o import model_config

R50 = "configs/models/coco/diffusiondet_r50.yaml"
SWIN = "configs/models/coco/diffusiondet_swin_b.yaml"
DIGITS = "configs/models/digits/warmstart.yaml"


def test_detectron2s_resnet_in_mmdetections_words() -> None:
    model = model_config(load_config(R50))
    backbone = model["backbone"]
    assert (backbone["depth"], backbone["style"], backbone["out_indices"]) == (50, "pytorch", [0, 1, 2, 3])
    assert backbone["norm_cfg"] == {"type": "BN", "requires_grad": False} and backbone["norm_eval"] is True
    assert backbone["frozen_stages"] == 1  # Detectron2's FREEZE_AT 2: the stem and res2
    assert model["neck"]["in_channels"] == [256, 512, 1024, 2048] and model["neck"]["num_outs"] == 5
    preprocessor = model["data_preprocessor"]
    assert preprocessor["bgr_to_rgb"] is True and preprocessor["pad_size_divisor"] == 32
    assert model["c2o"]["MODEL"]["DiffusionDet"] == {"NUM_PROPOSALS": 500}


@pytest.mark.parametrize(
    ("key", "value", "part", "name", "expected"),
    [
        ("MODEL.RESNETS.STRIDE_IN_1X1", True, "backbone", "style", "caffe"),
        ("MODEL.RESNETS.NORM", "BN", "backbone", "norm_eval", False),
        ("MODEL.RESNETS.NORM", "SyncBN", "backbone", "norm_cfg", {"type": "SyncBN", "requires_grad": True}),
        ("MODEL.BACKBONE.FREEZE_AT", 0, "backbone", "frozen_stages", -1),
        ("MODEL.FPN.NORM", "GN", "neck", "norm_cfg", {"type": "GN", "num_groups": 32, "requires_grad": True}),
        ("MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "backbone", "stem_channels", 32),
        ("INPUT.FORMAT", "BGR", "data_preprocessor", "bgr_to_rgb", False),
        ("SOLVER.BACKBONE_MULTIPLIER", 0.0, "c2o", "SOLVER", {"BACKBONE_MULTIPLIER": 0.0}),
        ("TEST.DETECTIONS_PER_IMAGE", 300, "c2o", "TEST", {"DETECTIONS_PER_IMAGE": 300}),
    ],
)
def test_a_key_decides_over(key: str, value: Any, part: str, name: str, expected: Any) -> None:
    assert model_config(load_config(R50, [key, value]))[part][name] == expected


@pytest.mark.parametrize(
    ("path", "opts", "message"),
    [
        (R50, ["MODEL.RESNETS.NUM_GROUPS", 32], "MODEL.RESNETS.NUM_GROUPS: 32 has no counterpart"),
        (R50, ["MODEL.RESNETS.RES5_DILATION", 2], "MODEL.RESNETS.RES5_DILATION: 2 has no counterpart"),
        (R50, ["MODEL.RESNETS.RES2_OUT_CHANNELS", 128], "MODEL.RESNETS.RES2_OUT_CHANNELS: 128 has no counterpart"),
        (
            R50,
            ["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True]],
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: deformable convolutions are not carried over; switch off",
        ),
        (
            R50,
            ["MODEL.RESNETS.NORM", "LN"],
            "MODEL.RESNETS.NORM: 'LN' is not carried over to MMDetection; FrozenBN, BN,",
        ),
        (
            R50,
            ["MODEL.FPN.NORM", "FrozenBN"],
            "MODEL.FPN.NORM: 'FrozenBN' is not carried over to MMDetection; BN, SyncBN",
        ),
        (
            R50,
            ["MODEL.FPN.FUSE_TYPE", "avg"],
            "MODEL.FPN.FUSE_TYPE: avg has no counterpart in MMDetection's FPN; sum has",
        ),
        (
            R50,
            ["MODEL.FPN.IN_FEATURES", ["res2", "res4"]],
            r"MODEL.FPN.IN_FEATURES: ['res2', 'res4'] leaves a stage out",
        ),
        (
            SWIN,
            ["MODEL.SWIN.OUT_FEATURES", (0, 1, 2)],
            "MODEL.FPN.IN_FEATURES: ['swin0', 'swin1', 'swin2', 'swin3'] are",
        ),
        (
            "configs/models/photos/small.yaml",
            [],
            "MODEL.BACKBONE.NAME: build_efficientnet_lite0_fpn_backbone has no counterpart in MMDetection; it has",
        ),
        (
            "configs/models/digits/backbone.yaml",
            [],
            "MODEL.META_ARCHITECTURE: C2OBackbonePretrainer is no detector; MMDetection gets DiffusionDet only",
        ),
    ],
)
def test_what_mmdetection_cannot_say_is_an_error_that_names_the_key(path: str, opts: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        model_config(load_config(path, opts))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_command_prints_a_file_that_gives_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert from_c2o.main([DIGITS, "MODEL.DiffusionDet.SAMPLE_STEP", "4"]) == 0
    (tmp_path / "model.py").write_text(capsys.readouterr().out, encoding="utf-8")
    model = runpy.run_path(str(tmp_path / "model.py"))["model"]
    assert model == model_config(load_config(DIGITS, ["MODEL.DiffusionDet.SAMPLE_STEP", 4]))
    assert model["c2o"]["MODEL"]["DiffusionDet"]["SAMPLE_STEP"] == 4
    assert from_c2o.main(["nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "error: nowhere.yaml: no such configuration file\n"


def test_a_value_or_a_path_of_a_configuration_is_never_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command prints is run by mmengine; the YAML may be another's."""
    norm = 'BN", "x": 1 / 0, "\\'
    place = tmp_path / "a\nraise SystemExit"
    place.mkdir()
    document = {"_BASE_": str(Path(DIGITS).resolve()), "MODEL": {"RESNETS": {"NORM": norm}}}
    (place / "other.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    assert from_c2o.main([str(place / "other.yaml")]) == 0
    (tmp_path / "model.py").write_text(capsys.readouterr().out, encoding="utf-8")
    assert runpy.run_path(str(tmp_path / "model.py"))["model"]["backbone"]["norm"] == norm
