"""What a parameter is called, and how it lies, in Detectron2's model and in MMDetection's.

Backbone and pyramid differ in names; Swin also in the order of the channels that its merging layers read, and in the
shape of a constant. The head keeps its names below another prefix. Called by :mod:`c2o_model.mmdet3.convert`.
"""

from __future__ import annotations

import re

from detectron2.config import CfgNode
from torch import Tensor

from c2o_model.mmdet3.from_c2o import RESNET, SMALL, SWIN, in_levels

HEAD, THEIR_HEAD = "head.", "bbox_head."
INDEX = ".relative_position_index"  # a constant of Swin: [49,49] there, flat here
WINDOW_CELLS = 49
_ABBREVIATIONS = {"FrozenBN": "bn", "BN": "bn", "SyncBN": "bn", "GN": "gn"}
_MERGING = re.compile(r"backbone\.bottom_up\.features\.[246]\.(?:norm\.(?:weight|bias)|reduction\.weight)")
_QUARTERS = (0, 2, 1, 3)  # upper left, upper right, lower left, lower right: columns first here, rows first there
_SWIN_PARTS = (
    (re.compile(r"^features\.0\.0\."), "patch_embed.projection."),
    (re.compile(r"^features\.0\.2\."), "patch_embed.norm."),
    (re.compile(r"^features\.([246])\."), lambda found: f"stages.{int(found[1]) // 2 - 1}.downsample."),
    (re.compile(r"^features\.([1357])\."), lambda found: f"stages.{int(found[1]) // 2}.blocks."),
    (re.compile(r"\.attn\."), ".attn.w_msa."),
    (re.compile(r"\.mlp\.0\."), ".ffn.layers.0.0."),
    (re.compile(r"\.mlp\.3\."), ".ffn.layers.1."),
)


def their_name(name: str, cfg: CfgNode) -> str:
    """MMDetection's name of the parameter that is ``name`` in the Detectron2 model of ``cfg``."""
    if name.startswith(HEAD):
        return THEIR_HEAD + name.removeprefix(HEAD)
    kind = cfg.MODEL.BACKBONE.NAME
    if kind == SMALL:
        return name
    if found := re.fullmatch(r"backbone\.fpn_(lateral|output)(\d)\.(norm\.)?(\w+)", name):
        which = "lateral_convs" if found[1] == "lateral" else "fpn_convs"
        part = f"{_ABBREVIATIONS[cfg.MODEL.FPN.NORM]}." if found[3] else "conv."
        return f"neck.{which}.{int(found[2]) - in_levels(cfg)[0]}.{part}{found[4]}"
    rest = name.removeprefix("backbone.bottom_up.")
    return f"backbone.{_swin(rest) if kind == SWIN else _resnet(rest, _ABBREVIATIONS[cfg.MODEL.RESNETS.NORM])}"


def _swin(name: str) -> str:
    for pattern, theirs in _SWIN_PARTS:
        name = pattern.sub(theirs, name)
    return name


def _resnet(name: str, norm: str) -> str:
    """stem.conv1.norm.X -> bn1.X, res2.0.conv3.weight -> layer1.0.conv3.weight, shortcut -> downsample."""
    name = name.removeprefix("stem.")
    name = re.sub(r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}.", name)
    name = name.replace(".shortcut.norm.", ".downsample.1.").replace(".shortcut.", ".downsample.0.")
    return re.sub(r"\bconv(\d)\.norm\.", rf"{norm}\1.", name)


def counters_are_added(cfg: CfgNode) -> bool:
    """Whether MMDetection's frozen batch norms carry a counter that Detectron2's do not."""
    return bool(cfg.MODEL.BACKBONE.NAME == RESNET and cfg.MODEL.RESNETS.NORM == "FrozenBN")


def to_their_layout(name: str, value: Tensor) -> Tensor:
    """The tensor of our ``name`` as MMDetection holds it; the merging layers' channels come quarter by quarter here.

    There they come channel by channel, with the quarters of a channel side by side and row by row.
    """
    if name.endswith(INDEX):
        return value.reshape(WINDOW_CELLS, WINDOW_CELLS)
    if _MERGING.fullmatch(name):
        quarters = value.unflatten(-1, (4, -1))[..., list(_QUARTERS), :]
        return quarters.transpose(-1, -2).flatten(-2).contiguous()
    return value


def to_our_layout(name: str, value: Tensor) -> Tensor:
    """The inverse of :func:`to_their_layout`; ``name`` is ours again."""
    if name.endswith(INDEX):
        return value.flatten()
    if _MERGING.fullmatch(name):
        return value.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., list(_QUARTERS), :].flatten(-2).contiguous()
    return value
