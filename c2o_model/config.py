"""Every configuration key of C2O-GND: its name, its default, its check, and the typed values made from it.

The keys extend a Detectron2 ``CfgNode`` so that existing YAML files and ``KEY VALUE`` command lines work. They are
read once, by :func:`typed_config`; everything below the entry points receives the frozen dataclasses of
:mod:`c2o_model.settings`. A key that is unknown, of the wrong type, out of range, or whose feature is not built yet
is an error that names the key; no key is ever ignored.

Called by ``train_net``, the workflow's scripts and the tests. Sources: model.md, DiffusionDet (arXiv 2211.09788).
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg

from c2o_model.keys import KEYS, TEST_TIME_KEYS, Key
from c2o_model.settings import Settings


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the key, its value and what to do."""


def add_c2o_config(cfg: CfgNode) -> None:
    """Declare every key of C2O with its default on ``cfg`` (in place), as Detectron2 projects do."""
    for key in KEYS:
        node = cfg
        *parents, leaf = key.name.split(".")
        for part in parents:
            if part not in node:
                node[part] = CfgNode()
            node = node[part]
        node[leaf] = copy.deepcopy(key.default)


def default_config() -> CfgNode:
    """Detectron2's defaults with every C2O key declared."""
    cfg = get_cfg()
    add_c2o_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0
    return cfg


def config_from_dict(values: Mapping[str, Any], opts: Sequence[Any] = ()) -> CfgNode:
    """A checked configuration from an already merged mapping (nested or with dotted keys) and ``KEY VALUE`` pairs.

    Raises:
        ConfigError: for an unknown key (with the nearest known one), a wrong type or a value out of range.
        NotImplementedError: for a key that asks for a feature that is not built yet, naming the key.
    """
    cfg = default_config()
    for name, value in _flatten(values, cfg):
        _assign(cfg, name, value)
    if len(opts) % 2:
        raise ConfigError(f"{opts[-1]}: a key without a value; overrides are KEY VALUE pairs")
    for name, value in zip(opts[::2], opts[1::2], strict=True):
        _assign(cfg, str(name), _decode(str(name), value) if isinstance(value, str) else value)
    check(cfg)
    cfg.freeze()
    return cfg


def at_test_time(cfg: CfgNode, opts: Mapping[str, Any]) -> CfgNode:
    """``cfg`` with other sampling options: the checkpoint stays the same, so only test-time keys are allowed.

    Raises:
        ConfigError: for a key that would change the model itself, or as :func:`config_from_dict`.
    """
    changed = cfg.clone()
    changed.defrost()
    for name, value in opts.items():
        if name not in TEST_TIME_KEYS:
            raise ConfigError(f"{name}: is no test-time key; a row may set {', '.join(sorted(TEST_TIME_KEYS))}")
        _assign(changed, name, value)
    check(changed)
    changed.freeze()
    return changed


def load_config(path: str | Path, opts: Sequence[Any] = ()) -> CfgNode:
    """A checked configuration from a Detectron2 style YAML file (``_BASE_`` honoured, unsafe YAML refused)."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file")
    try:
        loaded = CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid (safe) YAML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: _BASE_: {error.filename}: cannot be read ({error.strerror})") from error
    except TypeError:
        loaded = None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: holds no mapping of keys to values")
    try:
        return config_from_dict(loaded, opts)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def check(cfg: CfgNode) -> None:
    """Check every C2O key of ``cfg`` by itself, then the combinations. Raises as :func:`config_from_dict`."""
    for key in KEYS:
        value = _get(cfg, key.name)
        if key.choices and value not in key.choices:
            raise ConfigError(f"{key.name}: {value!r} is not one of {', '.join(map(repr, key.choices))}")
        if key.low is not None and not value >= key.low:  # so written, nan is refused
            raise ConfigError(f"{key.name}: {value!r} is below the smallest allowed value {key.low}")
        if key.high is not None and not value <= key.high:
            raise ConfigError(f"{key.name}: {value!r} is above the largest allowed value {key.high}")
        if key.only is not None and value not in key.only:
            raise ConfigError(f"{key.name}: {value!r} has no effect in C2O; leave it at {key.only[0]!r}")
        if key.built is not None and value not in key.built:
            raise NotImplementedError(
                f"{key.name}: {value!r} asks for a feature that is not built yet; leave it at {key.built[0]!r}"
            )
    _check_combinations(cfg)


def typed_config(cfg: CfgNode) -> Settings:
    """The typed values of a checked configuration: read here once, nowhere else."""
    return Settings.from_values(lambda name: _get(cfg, name))


def dump_resolved(cfg: CfgNode) -> str:
    """The whole configuration, defaults included, as deterministic YAML."""
    return str(yaml.safe_dump(_plain(cfg), sort_keys=True, default_flow_style=None, width=110))


def _check_combinations(cfg: CfgNode) -> None:
    d = cfg.MODEL.DiffusionDet
    if d.HIDDEN_DIM % d.NHEADS:
        raise ConfigError(f"MODEL.DiffusionDet.NHEADS: {d.NHEADS} does not divide HIDDEN_DIM {d.HIDDEN_DIM}")
    if d.LABEL_D3PM and not d.LABEL_STATE:
        raise ConfigError("MODEL.DiffusionDet.LABEL_D3PM: True needs MODEL.DiffusionDet.LABEL_STATE: True")
    _check_losses(cfg)
    if d.QUALITY_GUIDANCE and not d.QUALITY_HEAD:
        raise ConfigError("MODEL.DiffusionDet.QUALITY_GUIDANCE: True needs MODEL.DiffusionDet.QUALITY_HEAD: True")
    if d.QUALITY_SCORE_REWEIGHT and not d.QUALITY_HEAD:
        raise ConfigError("MODEL.DiffusionDet.QUALITY_SCORE_REWEIGHT: True needs MODEL.DiffusionDet.QUALITY_HEAD: True")
    _check_graph(d)
    if d.SAMPLER_DISTILL_IMAGES > cfg.SOLVER.IMS_PER_BATCH:
        raise ConfigError(
            f"MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES: {d.SAMPLER_DISTILL_IMAGES} exceeds SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}; 0 means the whole batch"
        )
    _check_distillation(cfg)
    if cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.ACCUMULATE_STEPS:
        raise ConfigError(
            f"SOLVER.ACCUMULATE_STEPS: {cfg.SOLVER.ACCUMULATE_STEPS} does not divide SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}, the global batch"
        )
    if cfg.SOLVER.TORCH_COMPILE and cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        raise ConfigError(
            "SOLVER.TORCH_COMPILE: True compiles the head of MODEL.META_ARCHITECTURE DiffusionDet; "
            f"{cfg.MODEL.META_ARCHITECTURE} has none"
        )
    if d.SAMPLE_STEP > d.DIFFUSION_TIMESTEPS:
        raise ConfigError(
            f"MODEL.DiffusionDet.SAMPLE_STEP: {d.SAMPLE_STEP} exceeds DIFFUSION_TIMESTEPS {d.DIFFUSION_TIMESTEPS}"
        )
    _check_input(cfg)


def _check_input(cfg: CfgNode) -> None:
    sizes, crop = tuple(cfg.INPUT.MIN_SIZE_TRAIN), tuple(cfg.INPUT.CROP.SIZE)
    if not all(type(size) is int and size >= 0 for size in sizes) or (sizes != (0,) and 0 in sizes) or not sizes:
        raise ConfigError(f"INPUT.MIN_SIZE_TRAIN: {sizes} are no sizes in pixels; (0,) alone means no resizing")
    if (cfg.INPUT.MIN_SIZE_TEST == 0) != (sizes == (0,)):
        raise ConfigError(
            f"INPUT.MIN_SIZE_TEST: {cfg.INPUT.MIN_SIZE_TEST} with INPUT.MIN_SIZE_TRAIN {sizes}: resize in both or in "
            "neither (Detectron2 tests at 800)"
        )
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2:
        raise ConfigError(
            f"INPUT.MIN_SIZE_TRAIN_SAMPLING: 'range' needs two sizes in INPUT.MIN_SIZE_TRAIN, not {sizes}"
        )
    if cfg.INPUT.CROP.ENABLED and sizes == (0,):
        raise ConfigError("INPUT.CROP.ENABLED: True needs INPUT.MIN_SIZE_TRAIN: crops are resized to it")
    if len(crop) != 2 or not all(type(side) is int for side in crop) or not 1 <= crop[0] <= crop[1]:
        raise ConfigError(f"INPUT.CROP.SIZE: {crop} is not (smallest, largest) side in pixels")


def _check_graph(d: CfgNode) -> None:
    """The switches of the nodes' graph that exclude or need one another."""
    prefix = "MODEL.DiffusionDet."
    if d.DISABLE_SELF_ATTN:
        needs_attention = {
            "GEO_BIAS_TYPE": d.GEO_BIAS_TYPE != "none",
            "GEO_BIAS_TOPK": d.GEO_BIAS_TOPK > 0,
            "GRAPH_TOPO_LOSS": d.GRAPH_TOPO_LOSS,
            "GEO_FEAT_MODE": d.GEO_FEAT and d.GEO_FEAT_MODE == "qk_pos",
            "GEO_FEAT_REL": d.GEO_FEAT_REL,
        }
        for name, asked in needs_attention.items():
            if asked:
                raise ConfigError(
                    f"{prefix}DISABLE_SELF_ATTN: True leaves each node by itself, but {prefix}{name}: {d[name]!r} "
                    "needs the others; switch one of them off"
                )
    if d.GEO_FEAT_REL and not d.GEO_FEAT:
        raise ConfigError(f"{prefix}GEO_FEAT_REL: True needs {prefix}GEO_FEAT: True")
    if d.GEO_BIAS_SCALE_MODE == "shared" and d.GEO_BIAS_TYPE != "distance":
        raise ConfigError(
            f"{prefix}GEO_BIAS_SCALE_MODE: 'shared' needs {prefix}GEO_BIAS_TYPE: 'distance', not {d.GEO_BIAS_TYPE!r}"
        )
    if d.SELF_ATTN_IMPL == "flex" and d.DROPOUT > 0:
        raise ConfigError(
            f"{prefix}SELF_ATTN_IMPL: 'flex' has no dropout, but {prefix}DROPOUT is {d.DROPOUT:g}; "
            "use 'torch' or 'sdpa'"
        )


def _check_losses(cfg: CfgNode) -> None:
    """The softmax loss has no one-class-against-the-rest form, which the others are made of."""
    d = cfg.MODEL.DiffusionDet
    if not d.USE_FOCAL:
        others = {"CLS_LOSS_TYPE": "qfl", "USE_FED_LOSS": True, "CONSISTENCY_DISTILL": True, "SAMPLER_DISTILL": True}
        for name, value in others.items():
            if d[name] == value:
                raise ConfigError(
                    f"MODEL.DiffusionDet.{name}: {value!r} works on sigmoid scores and needs "
                    "MODEL.DiffusionDet.USE_FOCAL: True"
                )
    count = cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES
    if d.USE_FED_LOSS and count < 1:
        raise ConfigError(
            f"MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES: {count} classes cannot carry a loss; give 1 or more"
        )


def _check_distillation(cfg: CfgNode) -> None:
    d, key = cfg.MODEL.DiffusionDet, "MODEL.DiffusionDet."
    if d.CONSISTENCY_DISTILL and d.SAMPLER_DISTILL:
        raise ConfigError(
            f"{key}CONSISTENCY_DISTILL: True excludes {key}SAMPLER_DISTILL: True; a student has one teacher, "
            "switch one of them off"
        )
    if (d.CONSISTENCY_DISTILL or d.SAMPLER_DISTILL) and cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        name = "CONSISTENCY_DISTILL" if d.CONSISTENCY_DISTILL else "SAMPLER_DISTILL"
        raise ConfigError(
            f"{key}{name}: True needs MODEL.META_ARCHITECTURE: DiffusionDet, not {cfg.MODEL.META_ARCHITECTURE}"
        )
    if d.CONSISTENCY_DISTILL and not (d.CONSISTENCY_DISTILL_BOX_WEIGHT or d.CONSISTENCY_DISTILL_CLS_WEIGHT):
        raise ConfigError(
            f"{key}CONSISTENCY_DISTILL: True with BOX_WEIGHT 0 and CLS_WEIGHT 0 distils nothing; give one of them"
        )
    if d.SAMPLER_DISTILL:
        teacher, student = d.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP, d.SAMPLER_DISTILL_STUDENT_SAMPLE_STEP
        if teacher > d.DIFFUSION_TIMESTEPS:
            raise ConfigError(
                f"{key}SAMPLER_DISTILL_TEACHER_SAMPLE_STEP: {teacher} exceeds DIFFUSION_TIMESTEPS "
                f"{d.DIFFUSION_TIMESTEPS}"
            )
        if student > teacher:
            raise ConfigError(
                f"{key}SAMPLER_DISTILL_STUDENT_SAMPLE_STEP: {student} exceeds SAMPLER_DISTILL_TEACHER_SAMPLE_STEP "
                f"{teacher}; a student is to need fewer steps than its teacher"
            )


def _flatten(values: Mapping[str, Any], cfg: CfgNode, prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves of a nested mapping as dotted keys. A mapping below a known leaf is kept whole."""
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        full = f"{prefix}{name}"
        known = _get(cfg, full, missing=None)
        if isinstance(value, Mapping) and (known is None or isinstance(known, CfgNode)):
            flat += _flatten(value, cfg, f"{full}.")
        else:
            flat.append((full, value))
    return flat


def _assign(cfg: CfgNode, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    node = cfg
    for part in parents:
        node = node.get(part) if isinstance(node, CfgNode) else None
        if not isinstance(node, CfgNode):
            raise ConfigError(_unknown(cfg, name))
    if leaf not in node:
        raise ConfigError(_unknown(cfg, name))
    node[leaf] = _coerce(name, value, node[leaf])


def _decode(name: str, text: str) -> Any:
    """The value of a ``KEY VALUE`` override: a Python literal, as Detectron2 reads it, else YAML."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{name}: {text!r} is neither a Python literal nor YAML") from None


def _coerce(name: str, value: Any, default: Any) -> Any:
    """``value`` in the type of ``default``: exact, but for int -> float and list <-> tuple.

    Detectron2's YAML files write tuples as ``(1, 2)``, which YAML reads as a string.
    """
    if isinstance(default, tuple | list) and isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    if isinstance(default, bool) or isinstance(value, bool):
        if isinstance(default, bool) and isinstance(value, bool):
            return value
    elif isinstance(default, float) and isinstance(value, int):
        return float(value)
    elif isinstance(default, float) and isinstance(value, str):
        try:  # YAML 1.1 reads 1e-4 (no dot) as a string
            return float(value)
        except ValueError:
            pass
    elif isinstance(default, tuple | list) and isinstance(value, tuple | list):
        return type(default)(value)
    elif default is None or isinstance(value, type(default)):
        return value
    raise ConfigError(
        f"{name}: {value!r} is of type {type(value).__name__}; expected {type(default).__name__}, as in {default!r}"
    )


def _unknown(cfg: CfgNode, name: str) -> str:
    known = [full for full, _ in _flatten(_plain(cfg), CfgNode())]
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name}: unknown configuration key" + (f"; did you mean {near[0]}?" if near else "")


_RAISE = object()


def _get(cfg: CfgNode, name: str, missing: Any = _RAISE) -> Any:
    node: Any = cfg
    for part in name.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            if missing is _RAISE:
                raise ConfigError(_unknown(cfg, name))
            return missing
        node = node[part]
    return node


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(k): _plain(v) for k, v in node.items()}
    if isinstance(node, tuple | list):
        return [_plain(v) for v in node]
    return node


__all__ = [
    "ConfigError",
    "Key",
    "add_c2o_config",
    "at_test_time",
    "check",
    "config_from_dict",
    "default_config",
    "dump_resolved",
    "load_config",
    "typed_config",
]
