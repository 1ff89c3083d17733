"""The separable RoIAlign against torchvision's operator: without a gradient, and with the backward pass.

    python -m benchmarks.roi_align [--repeats 30]

Without a gradient (inference, frozen backbones) the separable form wins on every map; with the backward pass
it wins on the small maps of the embedded set, and on those of photographs the two are about even. First both must
give the same numbers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.workbench import HEADER, compare  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.determinism import set_deterministic
from c2o_model.modeling.roi import NodePooler


@dataclass(frozen=True)
class Case:
    """Shapes of one call: B images of a side in pixels, R boxes each, C channels, P bins a side."""

    name: str
    side: int
    images: int
    boxes: int
    channels: int
    resolution: int
    strides: tuple[int, ...]
    canonical: float
    level: int


CASES = (
    Case("digits, a training stage", 128, 16, 32, 64, 5, (4, 8, 16), 24.0, 2),
    Case("digits, five eval seeds", 128, 8, 160, 64, 5, (4, 8, 16), 24.0, 2),
    Case("photograph 512 px, 100 boxes", 512, 1, 100, 256, 7, (4, 8, 16, 32), 224.0, 4),
)


def inputs(case: Case) -> tuple[list[Tensor], Tensor]:
    g = torch.Generator().manual_seed(0)
    features = [
        torch.randn(case.images, case.channels, case.side // s, case.side // s, generator=g).requires_grad_()
        for s in case.strides
    ]
    centre = torch.rand(case.images, case.boxes, 2, generator=g) * case.side
    half = case.side * 0.5 * torch.rand(case.images, case.boxes, 2, generator=g) ** 2
    return features, torch.cat([centre - half, centre + half], dim=-1)


def call(case: Case, impl: str, features: list[Tensor], boxes: Tensor, backward: bool) -> Callable[[], list[Tensor]]:
    pool = NodePooler(case.strides, case.resolution, impl, case.canonical, case.level)

    def run() -> list[Tensor]:
        if not backward:
            with torch.inference_mode():
                return [pool(features, boxes)]
        out = pool(features, boxes)
        return [out.detach(), *torch.autograd.grad(out, features, torch.ones_like(out), allow_unused=True)]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=30, help="timed calls of each implementation")
    repeats = parser.parse_args().repeats
    set_deterministic()
    print(HEADER)
    for case in CASES:
        features, boxes = inputs(case)
        for backward in (False, True):
            ours, plain = (call(case, impl, features, boxes, backward) for impl in ("separable", "torchvision"))
            for a, b in zip(ours(), plain(), strict=True):
                if a is not None and b is not None:
                    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
            print(compare(ours, plain, repeats).row(case.name + (", + backward" if backward else "")), flush=True)


if __name__ == "__main__":
    main()
