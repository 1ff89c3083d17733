"""Every configuration key of C2O-GND: its name, its default, its check, and the typed values made from it.

The keys extend a Detectron2 ``CfgNode`` so that existing YAML files and ``KEY VALUE`` command lines work. They are
read once, by :func:`typed_config`; everything below the entry points receives the frozen dataclasses of
:mod:`c2o_model.settings`. A key that is unknown, of the wrong type or out of range, or that excludes another one, is
an error that names the key; no key is ever ignored.

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

from c2o_model.combinations import check_combinations
from c2o_model.keys import KEYS, TEST_TIME_KEYS, ConfigError, Key
from c2o_model.settings import Settings


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
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, thousands of digits
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
    check_combinations(cfg)


def typed_config(cfg: CfgNode) -> Settings:
    """The typed values of a checked configuration: read here once, nowhere else."""
    return Settings.from_values(lambda name: _get(cfg, name))


def dump_resolved(cfg: CfgNode) -> str:
    """The whole configuration, defaults included, as deterministic YAML."""
    return str(yaml.safe_dump(_plain(cfg), sort_keys=True, default_flow_style=None, width=110))


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
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pass
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
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
