"""The page of model keys: all of c2o_model/keys.py with default and range, grouped as in c2o_model/settings.py."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import get_type_hints

from c2o_model import settings
from c2o_model.keys import KEYS, TEST_TIME_KEYS, Key
from docs.generate.markdown import cell, code, table

D = "MODEL.DiffusionDet."
HEAD = f"""\
# Model keys

Written from `c2o_model/keys.py` when this site was built: {len(KEYS)} keys. They stand in a Detectron2 YAML file below
`configs/models/`, in the `opts` of an [experiment or row](suite.md), or as `KEY VALUE` behind
`python -m c2o_model.train_net`. All other keys are Detectron2's own, with its defaults. An unknown key, a wrong type, a
value out of range or two keys that exclude each other are errors that name the key.

A key marked *row* changes how a checkpoint is sampled, not what it is: the rows of a suite may set it.
"""


def page(root: Path) -> str:
    """The page; `root` is not needed, the keys are code."""
    left = {key.name: key for key in KEYS}
    parts = [HEAD]
    for kind in get_type_hints(settings.Settings).values():
        names = [D + field.name.upper() for field in dataclasses.fields(kind)]
        parts += _group(
            _spaced(kind.__name__.removesuffix("Settings")),
            inspect.getdoc(kind) or "",
            [left.pop(name) for name in names if name in left],
        )
    for prefix, title in ((D, "Further keys of the detector"), ("", "Training, input, backbones")):
        found = [key for name, key in left.items() if name.startswith(prefix)]
        parts += _group(title, "", found)
        for key in found:
            del left[key.name]
    return "\n".join(parts)


def _group(title: str, about: str, keys: list[Key]) -> list[str]:
    rows = ((code(k.name), code(repr(k.default)), _allowed(k), "row" if k.name in TEST_TIME_KEYS else "") for k in keys)
    about = cell(about.replace("``", "`"))
    return [f"## {title}\n", f"{about}\n" if about else "", table(("key", "default", "allowed", ""), rows)]


def _spaced(name: str) -> str:
    """GeoFeat as Geo feat."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _allowed(key: Key) -> str:
    if key.only is not None:
        return f"only {code(repr(key.only[0]))}"
    if key.choices:
        return ", ".join(code(repr(choice)) for choice in key.choices)
    if isinstance(key.default, bool):
        return "`True`, `False`"
    low = "" if key.low is None else f"from {key.low:g}"
    high = "" if key.high is None else f"to {key.high:g}"
    return " ".join(part for part in (low, high) if part) or type(key.default).__name__
