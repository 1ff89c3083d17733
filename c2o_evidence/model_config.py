"""Merging a model configuration: `_BASE_` chain, own keys, then dotted options. No default of the model is
known here.

The meaning of `_BASE_` is Detectron2's: bases first (relative to the file that names them, one or a list),
then the file's own keys; mappings are merged, everything else replaces.
"""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.digests import json_digest
from c2o_evidence.errors import SuiteError
from c2o_evidence.yaml_file import load_yaml

BASE_KEY = "_BASE_"


def merge_config(path: Path | str, root: Path | str, opts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The merged configuration of a model file, with options put in.

    Args:
        path: the YAML file, relative to `root` (or absolute inside it).
        root: the repository; the file and all its bases lie inside.
        opts: dotted keys and values, e.g. `{"SOLVER.MAX_ITER": 500}`; types are kept as given.

    Returns:
        A new nested dict without `_BASE_`.

    Raises:
        SuiteError: `FILE: KEY: what is wrong`: a missing file, a cycle, a path outside the repository, a
            mapping where a base has a value (or the reverse).
    """
    base = Path(root).resolve()
    config = _load(base / path, base, ())
    for key, value in (opts or {}).items():
        set_option(config, key, value, str(path))
    return config


def config_digest(config: Mapping[str, Any]) -> str:
    """`config_sha256`: SHA-256 of the canonical JSON of a merged configuration."""
    return json_digest(dict(config))


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A configuration by dotted keys, in their order; an empty section stays. What is no mapping has none."""
    found: dict[str, Any] = {}
    for key, value in config.items() if isinstance(config, Mapping) else ():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def set_option(config: dict[str, Any], key: str, value: Any, name: str) -> None:
    """Put `value` at dotted `key`, making mappings on the way.

    Raises:
        SuiteError: the key is malformed, or a part of it is a value, not a mapping.
    """
    parts = key.split(".")
    if not all(parts):
        raise SuiteError(f"{name}: opts.{key}: is not a key of the form A.B.C; correct it")
    node = config
    for index, part in enumerate(parts[:-1]):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            head = ".".join(parts[: index + 1])
            raise SuiteError(f"{name}: opts.{key}: {head} is the value {node!r}, not a mapping; correct the key")
    if isinstance(node.get(parts[-1]), dict) and not isinstance(value, dict):
        raise SuiteError(f"{name}: opts.{key}: {value!r} would replace a whole mapping; give the full key")
    node[parts[-1]] = copy.deepcopy(value)


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: `over` laid on `base`; mappings are merged, all else (lists too) is replaced."""
    merged = {key: copy.deepcopy(value) for key, value in base.items()}
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            merged[key] = deep_merge(below, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _load(path: Path, root: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    # normpath, not resolve, for the name: messages show the path as the user wrote it, links and all.
    path = Path(os.path.normpath(path))
    if not path.resolve().is_relative_to(root):
        place = _name(chain[-1], root) if chain else "model configuration"
        raise SuiteError(f"{place}: {BASE_KEY}: {path} is outside the repository; copy the file into it")
    name = _name(path, root)
    if path in chain:
        cycle = " -> ".join(_name(p, root) for p in (*chain[chain.index(path) :], path))
        raise SuiteError(f"{_name(chain[-1], root)}: {BASE_KEY}: forms a cycle {cycle}; remove one of them")
    if chain and not path.exists():
        raise SuiteError(f"{_name(chain[-1], root)}: {BASE_KEY}: {name} does not exist; correct the path")
    own = load_yaml(path, name)
    if own is None:
        own = {}
    if not isinstance(own, dict):
        raise SuiteError(f"{name}: holds {type(own).__name__}, not a mapping of keys; correct the file")
    bases = own.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(item, str) for item in bases):
        raise SuiteError(f"{name}: {BASE_KEY}: {bases!r} is not a path or a list of paths; correct it")
    merged: dict[str, Any] = {}
    for item in bases:
        _lay(merged, _load(path.parent / item, root, (*chain, path)), name, "")
    _lay(merged, own, name, "")
    return merged


def _lay(target: dict[str, Any], over: Mapping[str, Any], name: str, prefix: str) -> None:
    """Detectron2's merge of `over` into `target`, its error made readable, and the reverse refused."""
    for key, value in over.items():
        where = f"{prefix}{key}"
        if key in target and isinstance(value, dict) != isinstance(target[key], dict):
            kinds = "a mapping over a value" if isinstance(value, dict) else "a value over a mapping"
            raise SuiteError(f"{name}: {where}: puts {kinds} of its base; correct one of the files")
        if isinstance(value, dict) and key in target:
            _lay(target[key], value, name, f"{where}.")
        else:
            target[key] = copy.deepcopy(value)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
