"""Keys, defaults, checks and their messages; and that every switch at its off value changes no bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.config import get_cfg

from c2o_model.config import (
    ConfigError,
    add_c2o_config,
    at_test_time,
    config_from_dict,
    default_config,
    dump_resolved,
    load_config,
    typed_config,
)
from c2o_model.keys import KEYS, TEST_TIME_KEYS, Key
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import sample
from c2o_model.training.draws import draw

D = "MODEL.DiffusionDet."
CONFIGS = Path(__file__).parents[2] / "configs" / "models"

# model.md and DiffusionDet's released files, copied by hand: what a user's YAML may name, and "off".
EXPECTED: dict[str, Any] = {
    D + "NUM_CLASSES": 80, D + "NUM_PROPOSALS": 300, D + "NHEADS": 8, D + "DROPOUT": 0.0,
    D + "DIM_FEEDFORWARD": 2048, D + "ACTIVATION": "relu", D + "HIDDEN_DIM": 256, D + "NUM_CLS": 1,
    D + "NUM_REG": 3, D + "NUM_HEADS": 6, D + "NUM_DYNAMIC": 2, D + "DIM_DYNAMIC": 64,
    D + "CLASS_WEIGHT": 2.0, D + "GIOU_WEIGHT": 2.0, D + "L1_WEIGHT": 5.0, D + "DEEP_SUPERVISION": True,
    D + "NO_OBJECT_WEIGHT": 0.1, D + "USE_FOCAL": True, D + "USE_FED_LOSS": False, D + "ALPHA": 0.25,
    D + "GAMMA": 2.0, D + "PRIOR_PROB": 0.01, D + "OTA_K": 5, D + "SNR_SCALE": 2.0, D + "SAMPLE_STEP": 1,
    D + "USE_NMS": True, D + "DIFFUSION_TIMESTEPS": 1000, D + "SAMPLER_COMPAT": "c2o",
    D + "LABEL_STATE": False, D + "LABEL_D3PM": False, D + "LABEL_D3PM_KERNEL": "mask",
    D + "GEO_FEAT": False, D + "GEO_FEAT_LR_MULT": 1.0, D + "GEO_FEAT_REL": False, D + "GEO_BIAS_TYPE": "none",
    D + "GEO_BIAS_TOPK": 0, D + "GEO_BIAS_SCHEDULE": "constant", D + "DISABLE_SELF_ATTN": False,
    D + "SELF_ATTN_IMPL": "torch", D + "SELF_ATTN_SDPA_BACKEND": "auto", D + "GRAPH_TOPO_LOSS": False,
    D + "GRAPH_TOPO_TARGET_NORM": "row", D + "CLS_LOSS_TYPE": "focal", D + "QFL_BETA": 2.0,
    D + "BOX_LOSS_IOU_WEIGHT_POWER": 0.0, D + "QUALITY_HEAD": False, D + "QUALITY_LOSS_TYPE": "bce",
    D + "QUALITY_SCORE_REWEIGHT": False, D + "ANISO_NOISE": False, D + "ANISO_NOISE_SIGMA_XY": 1.0,
    D + "ANISO_NOISE_SIGMA_W": 1.0, D + "ANISO_NOISE_SIGMA_H": 1.0, D + "QUALITY_GUIDANCE_SCALE": 0.0,
    D + "QUALITY_GUIDANCE_MODE": "final", D + "QUALITY_GUIDANCE_GRAD_NORM": "none",
    D + "QUALITY_GUIDANCE_STEP_SCHEDULE": "constant", D + "CONSISTENCY_DISTILL": False,
    D + "SAMPLER_DISTILL": False, D + "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP": 20,
    D + "SAMPLER_DISTILL_TEACHER_ETA": 0.0, D + "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP": 1,
    "SOLVER.OPTIMIZER": "ADAMW", "SOLVER.BACKBONE_MULTIPLIER": 1.0, "SOLVER.TORCH_COMPILE": False,
    "MODEL_EMA.ENABLED": False, "MODEL_EMA.DECAY": 0.999, "MODEL.SWIN.SIZE": "B",
}  # fmt: skip
MARKERS = (
    "KEEP_PROB_SCHEDULE", "KEEP_PROB_POWER", "KEEP_PROB_MIN", "KEEP_PROB_CONST", "USE_DISTRIBUTION",
    "RELATIVE_TO_UNK", "GEO_FEAT_MODE", "GEO_FEAT_SCHEDULE", "GRAPH_TOPO_IOU_THRESH", "QUALITY_GUIDANCE_TOPK",
    "LANGEVIN_STEPS", "SAMPLER_DISTILL_TOPK", "SAMPLER_DISTILL_BOX_WEIGHT", "SAMPLER_DISTILL_CLS_WEIGHT",
    "CONSISTENCY_DISTILL_TEMPERATURE", "SOLVER.TORCH_COMPILE_MODE", "MODEL_EMA.RAMP", "SAMPLE_RESTARTS",
    "QUALITY_SCORE_REWEIGHT_POWER",
)  # fmt: skip


def get(cfg: Any, name: str) -> Any:
    for part in name.split("."):
        cfg = cfg[part]
    return cfg


def test_every_key_of_the_specification_is_declared_with_its_default() -> None:
    cfg = default_config()
    assert {name: get(cfg, name) for name in EXPECTED} == EXPECTED
    names = [key.name for key in KEYS]
    assert len(names) == len(set(names))
    for marker in MARKERS:
        assert any(marker in name for name in names), marker


def test_defaults_pass_their_own_checks_and_are_declared_on_a_users_node() -> None:
    config_from_dict({})
    cfg = get_cfg()
    add_c2o_config(cfg)
    assert cfg.MODEL.DiffusionDet.SNR_SCALE == 2.0 and cfg.SOLVER.BACKBONE_MULTIPLIER == 1.0
    for key in KEYS:
        if key.choices:
            assert key.default in key.choices, key.name


def test_the_defaults_of_two_configurations_share_nothing() -> None:
    default_config().MODEL.SMALL_RESNET.CHANNELS.append(1)
    assert default_config().MODEL.SMALL_RESNET.CHANNELS == [32, 64, 128]


def other_value(key: Key) -> Any:
    """A value of the right type and range."""
    if isinstance(key.default, bool):
        return not key.default
    if isinstance(key.default, str):
        return key.default + "x"
    if isinstance(key.default, tuple):
        return (*key.default, 9)
    step = 1 if isinstance(key.default, int) else 0.25
    return key.default + step if key.high is None or key.default + step <= key.high else key.default - step


ONLY = [k for k in KEYS if k.only is not None]


@pytest.mark.parametrize("key", ONLY, ids=[key.name for key in ONLY])
def test_a_key_with_one_meaning_is_refused_at_another_value(key: Key) -> None:
    assert key.only == (key.default,)
    value = other_value(key)
    with pytest.raises(ConfigError) as caught:
        config_from_dict({key.name: value})
    assert str(caught.value) == f"{key.name}: {value!r} has no effect in C2O; leave it at {key.default!r}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        (D + "NUM_CLASES", D + "NUM_CLASSES"),
        ("SOLVER.BACKBONE_MULTIPLER", "SOLVER.BACKBONE_MULTIPLIER"),
        ("MODEL_EMA.DECAYS", "MODEL_EMA.DECAY"),
        ("MODEL.DifusionDet.NUM_CLASSES", D + "NUM_CLASSES"),
        (D + "NUM_CLASSES.X", D + "NUM_CLASSES"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({name: 3})
    assert str(caught.value) == f"{name}: unknown configuration key; did you mean {near}?"
    with pytest.raises(ConfigError, match="unknown configuration key"):
        config_from_dict({}, [name, "3"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (D + "NUM_CLASSES", "ten", "'ten' is of type str; expected int, as in 80"),
        (D + "NUM_CLASSES", 10.0, "10.0 is of type float; expected int, as in 80"),
        (D + "NUM_CLASSES", True, "True is of type bool; expected int, as in 80"),
        (D + "USE_NMS", 1, "1 is of type int; expected bool, as in True"),
        (D + "SNR_SCALE", None, "None is of type NoneType; expected float, as in 2.0"),
        (D + "SNR_SCALE", "much", "'much' is of type str; expected float, as in 2.0"),
        ("MODEL.SMALL_RESNET.CHANNELS", 3, "3 is of type int; expected list, as in [32, 64, 128]"),
        (D + "ACTIVATION", "swish", "'swish' is not one of 'relu', 'gelu'"),
        (D + "LABEL_D3PM_KERNEL", "absorbing", "'absorbing' is not one of 'mask', 'uniform'"),
        (D + "NUM_CLASSES", 0, "0 is below the smallest allowed value 1"),
        (D + "NMS_THRESH", 1.5, "1.5 is above the largest allowed value 1.0"),
        (D + "NMS_THRESH", float("nan"), "nan is below the smallest allowed value 0.0"),
        (D + "SAMPLE_ETA", -0.1, "-0.1 is below the smallest allowed value 0.0"),
        ("MODEL_EMA.DECAY", 2, "2.0 is above the largest allowed value 1.0"),
        (D + "NHEADS", 7, "7 does not divide HIDDEN_DIM 256"),
        (D + "LABEL_D3PM", True, "True needs MODEL.DiffusionDet.LABEL_STATE: True"),
        (D + "QUALITY_SCORE_REWEIGHT", True, "True needs MODEL.DiffusionDet.QUALITY_HEAD: True"),
        (D + "QUALITY_GUIDANCE", True, "True needs MODEL.DiffusionDet.QUALITY_HEAD: True"),
        (D + "NUM_DYNAMIC", 0, "0 is below the smallest allowed value 1"),
        (D + "ANISO_NOISE_SIGMA_W", 0.0, "0.0 is below the smallest allowed value 1e-06"),
        (D + "SAMPLE_STEP", 1001, "1001 exceeds DIFFUSION_TIMESTEPS 1000"),
        ("MODEL.META_ARCHITECTURE", "RCNN", "'RCNN' is not one of 'DiffusionDet', 'C2OBackbonePretrainer'"),
    ],
)
def test_a_bad_value_is_named_with_its_key(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({name: value})
    assert str(caught.value) == f"{name}: {message}"


def test_values_are_read_as_detectron2_reads_them() -> None:
    """Tuples written as (1, 2), numbers like 1e-4 (a string in YAML 1.1), and overrides as Python literals."""
    cfg = config_from_dict(
        yaml.safe_load("SOLVER: {STEPS: '(210, 250)', BASE_LR: 25e-6}\nDATASETS: {TRAIN: \"('a_b',)\"}\nSEED: 4"),
        ["DATASETS.TEST", "('c', 'd')", "SOLVER.WEIGHT_DECAY", "1e-4", D + "USE_NMS", "false", D + "SNR_SCALE", "3",
         "MODEL.WEIGHTS", "runs/x.pth"],
    )  # fmt: skip
    assert cfg.SOLVER.STEPS == (210, 250) and cfg.SOLVER.BASE_LR == 2.5e-5 and cfg.SOLVER.WEIGHT_DECAY == 1e-4
    assert cfg.DATASETS.TRAIN == ("a_b",) and cfg.DATASETS.TEST == ("c", "d") and cfg.SEED == 4
    assert cfg.MODEL.DiffusionDet.USE_NMS is False and cfg.MODEL.DiffusionDet.SNR_SCALE == 3.0
    assert cfg.MODEL.WEIGHTS == "runs/x.pth"


def test_overrides_come_in_pairs_and_are_literals() -> None:
    with pytest.raises(ConfigError, match=f"^{D}OTA_K: a key without a value; overrides are KEY VALUE pairs"):
        config_from_dict({}, [D + "OTA_K"])
    with pytest.raises(ConfigError, match=r"DATASETS.TRAIN: '\[a, ' is neither a Python literal nor YAML"):
        config_from_dict({}, ["DATASETS.TRAIN", "[a, "])


def test_a_configuration_is_frozen_and_survives_its_dump() -> None:
    cfg = config_from_dict({D + "OTA_K": 3, "SOLVER.BASE_LR": 1e-7})
    with pytest.raises(AttributeError):
        cfg.MODEL.DiffusionDet.OTA_K = 4
    again = config_from_dict(yaml.safe_load(dump_resolved(cfg)))
    assert dump_resolved(again) == dump_resolved(cfg) and again.SOLVER.BASE_LR == 1e-7
    assert typed_config(again) == typed_config(cfg)


def test_files_with_bases_and_without_sense(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("MODEL: {DiffusionDet: {OTA_K: 3, GAMMA: 1.5}}\n")
    child = tmp_path / "child.yaml"
    child.write_text("_BASE_: base.yaml\nMODEL: {DiffusionDet: {GAMMA: 1.0}}\n")
    d = load_config(child, [D + "ALPHA", "0.5"]).MODEL.DiffusionDet
    assert (d.OTA_K, d.GAMMA, d.ALPHA) == (3, 1.0, 0.5)
    for text, message in {
        "MODEL: !!python/object/apply:os.system ['touch owned']": "not valid (safe) YAML",
        "MODEL: [": "not valid (safe) YAML",
        "_BASE_: nowhere.yaml": "nowhere.yaml: cannot be read (No such file or directory)",
        "": "holds no mapping of keys to values",
        "- 3": "holds no mapping of keys to values",
        "MODEL: {DiffusionDet: {OTAK: 3}}": "MODEL.DiffusionDet.OTAK: unknown configuration key",
    }.items():
        child.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config(child)
        assert str(caught.value).startswith(f"{child}: ") and message in str(caught.value)
    assert not list(tmp_path.glob("owned")) and not Path("owned").exists()
    with pytest.raises(ConfigError, match="gone.yaml: no such configuration file"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_that_ship_load(path: Path) -> None:
    typed_config(load_config(path))


def test_a_row_may_change_how_a_checkpoint_is_sampled_and_nothing_else() -> None:
    cfg = config_from_dict({})
    changed = at_test_time(cfg, {D + "SAMPLE_STEP": 5, D + "SAMPLE_RESTARTS": 20})
    assert changed.MODEL.DiffusionDet.SAMPLE_STEP == 5 and cfg.MODEL.DiffusionDet.SAMPLE_STEP == 1
    names = [key.name for key in KEYS if key.name not in TEST_TIME_KEYS]
    assert D + "NUM_CLASSES" in names and D + "SAMPLE_ETA" not in names
    for name in [*names, "MODEL.WEIGHTS"]:
        with pytest.raises(ConfigError) as caught:
            at_test_time(cfg, {name: get(cfg, name)})
        assert str(caught.value).startswith(f"{name}: is no test-time key; a row may set {D}BOX_RENEWAL, ")
    with pytest.raises(ConfigError, match="SAMPLE_STEP: 0 is below"):
        at_test_time(cfg, {D + "SAMPLE_STEP": 0})
    with pytest.raises(ConfigError, match="QUALITY_SCORE_REWEIGHT: True needs"):
        at_test_time(cfg, {D + "QUALITY_SCORE_REWEIGHT": True})


def test_typed_values_hold_every_value_that_a_module_reads() -> None:
    typed = typed_config(config_from_dict({D + "OTA_K": 3, D + "GEO_FEAT_HIDDEN": 9}))
    assert typed.loss.ota_k == 3 and typed.geo_feat.geo_feat_hidden == 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        typed.loss.ota_k = 4  # type: ignore[misc]
    fields = {
        f.name.upper() for part in dataclasses.fields(typed) for f in dataclasses.fields(getattr(typed, part.name))
    }
    assert {D + name for name in fields} <= {key.name for key in KEYS}


SWITCHES = {
    "LABEL_STATE": {"LABEL_D3PM_KERNEL": "uniform", "LABEL_STATE_RELATIVE_TO_UNK": False, "KEEP_PROB_CONST": 0.1,
                    "LABEL_D3PM_USE_DISTRIBUTION": False, "KEEP_PROB_SCHEDULE": "linear"},
    "GEO_FEAT": {"GEO_FEAT_MODE": "qk_pos", "GEO_FEAT_HIDDEN": 5, "GEO_FEAT_ALPHA_INIT": 3.0,
                 "GEO_FEAT_SCHEDULE": "linear", "GEO_FEAT_LR_MULT": 7.0},
    "GRAPH_TOPO_LOSS": {"GRAPH_TOPO_IOU_THRESH": 0.3, "GRAPH_TOPO_LOSS_WEIGHT": 5.0, "GRAPH_TOPO_TARGET_NORM": "none",
                        "GEO_BIAS_TYPE": "none", "GEO_BIAS_TOPK": 0, "GEO_BIAS_SIGMA": 3.0, "GEO_BIAS_HIDDEN": 5,
                        "GEO_BIAS_SCHEDULE": "threshold", "GEO_BIAS_SCHEDULE_THRESH": 0.1, "GEO_BIAS_LR_MULT": 7.0},
    "DISABLE_SELF_ATTN": {"GEO_FEAT_REL": False},
    "QUALITY_HEAD": {"QUALITY_HIDDEN": 5, "QUALITY_LOSS_TYPE": "l1", "QUALITY_LOSS_WEIGHT": 9.0,
                     "QUALITY_SCORE_REWEIGHT_POWER": 3.0},
    "USE_FED_LOSS": {"CLS_LOSS_TYPE": "focal", "QFL_BETA": 0.5, "NO_OBJECT_WEIGHT": 0.7,
                     "BOX_LOSS_IOU_WEIGHT_FLOOR": 0.9},
    "ANISO_NOISE": {"ANISO_NOISE_SIGMA_XY": 3.0, "ANISO_NOISE_SIGMA_W": 0.2, "ANISO_NOISE_SIGMA_H": 9.0},
    "QUALITY_GUIDANCE": {"QUALITY_GUIDANCE_SCALE": 3.0, "QUALITY_GUIDANCE_MODE": "all",
                         "QUALITY_GUIDANCE_LANGEVIN_STEPS": 4, "QUALITY_GUIDANCE_TEMPERATURE": 2.0},
    "SAMPLER_DISTILL": {"SAMPLER_DISTILL_TOPK": 3, "SAMPLER_DISTILL_WEIGHT": 9.0, "SAMPLER_DISTILL_IMAGES": 2},
}  # fmt: skip


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_that_is_off_changes_no_bit(
    switch: str, make_config: Any, make_detector: Any, tiny_batch: TrainingBatch
) -> None:
    """Weights, losses, gradients and samples are those of the plain model, whatever the switch's other keys say."""

    def everything(**keys: Any) -> list[torch.Tensor]:
        detector = make_detector(**keys)
        losses = detector.losses(tiny_batch, draw(3, 1, 4, 8, tiny_batch.mask.shape[1], 1000))
        torch.stack(list(losses.values())).sum().backward()
        features = [f.detach() for f in detector.features(tiny_batch.images)]
        settings = typed_config(make_config(SAMPLE_STEP=3, **keys)).sampler
        found = sample(detector, features, tiny_batch.whwh, [1, 2, 3, 4], [0, 5], settings)
        return [
            *detector.state_dict().values(),
            *losses.values(),
            *(p.grad for p in detector.parameters()),
            *(getattr(d, part) for image in found for d in image for part in ("boxes", "scores", "labels")),
        ]

    plain, off = everything(), everything(**{switch: False}, **SWITCHES[switch])
    assert len(plain) == len(off)
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))
