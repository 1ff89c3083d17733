"""Names of released DiffusionDet files, turned into ours.

ResNet detectors have the same names on both sides. Swin is torchvision's here, whose layers are called otherwise:
docs/released-checkpoints.md lists every parameter, and a test keeps that table true.
Called by :mod:`c2o_model.checkpoint`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

SWIN = "backbone.bottom_up."
_PARTS = {"mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"}


def is_released_swin(names: Mapping[str, object]) -> bool:
    """Whether the names are those of a Swin detector of the original code."""
    return any(name.startswith(f"{SWIN}patch_embed.") for name in names)


def our_name(name: str) -> str:
    """The name that a parameter of a released Swin file has here; other names stay.

    torchvision counts layers in one list: 0 the patches, 1, 3, 5, 7 the stages, 2, 4, 6 the merging between them.
    """
    if not name.startswith(SWIN):
        return name
    rest = name.removeprefix(SWIN)
    for theirs, ours in (("patch_embed.proj.", "features.0.0."), ("patch_embed.norm.", "features.0.2.")):
        if rest.startswith(theirs):
            return SWIN + ours + rest.removeprefix(theirs)
    if found := re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", rest):
        return f"{SWIN}features.{2 * int(found[1]) + 2}.{found[2]}"
    if found := re.fullmatch(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)", rest):
        inner = found[3]
        for theirs, ours in _PARTS.items():
            inner = inner.replace(theirs, ours)
        return f"{SWIN}features.{2 * int(found[1]) + 1}.{found[2]}.{inner}"
    return name


def to_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under our names; unchanged unless it is of a released Swin detector.

    The index of relative positions, a constant, lies flat here: [49,49] -> [2401].
    """
    if not is_released_swin(state):
        return dict(state)
    return {
        our_name(name): value.flatten() if name.endswith(".relative_position_index") else value
        for name, value in state.items()
    }
