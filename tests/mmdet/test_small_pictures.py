"""Where Swin differs between the stacks: maps no larger than one window, which torchvision does not shift."""

from __future__ import annotations

import pytest
import torch

from tests.mmdet.pairs import Pair, make_pair, relative


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair("swin_t")


@torch.no_grad()
@pytest.mark.parametrize(("size", "equal"), [((256, 288), True), ((256, 224), False), ((224, 256), False)])
def test_maps_agree_where_a_side_is_larger_than_224_px(pair: Pair, size: tuple[int, int], equal: bool) -> None:
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = pair.core.backbone.double()(image)
    theirs = pair.mm.core.backbone.double()(image)
    difference = max(relative(ours[name], theirs[name]) for name in ("p2", "p3", "p4", "p5"))
    # In float64: what is left of 1e-6 in float32 is rounding, not another computation.
    assert difference < 1e-12 if equal else difference > 1e-3
