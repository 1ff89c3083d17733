"""Five eval seeds in one pass against one full forward an image and seed.

    python -m benchmarks.many_seeds [--images 16] [--repeats 5]

Ours computes an image's pyramid once and runs the head on all its seeds, a batch of images at a time, as
c2o_model.evaluation does. The straightforward way runs backbone and head image by image and seed by seed, with
torchvision's RoIAlign. First both must give the same detections.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from benchmarks.workbench import HEADER, compare, detector, scenes  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.data.loader import Batch, image_batches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample
from c2o_model.settings import SamplerSettings

SEEDS = (0, 1, 2, 3, 4)
BATCH = 8  # as evaluate()


def one_pass(model: DiffusionDet, batches: list[Batch], settings: SamplerSettings) -> list[list[Detections]]:
    """Images x seeds."""
    found = []
    for batch in batches:
        whwh = batch.sizes.flip(1).float().repeat(1, 2)
        found += sample(model, model.features(batch.images), whwh, batch.image_ids.tolist(), SEEDS, settings)
    return found


def one_by_one(model: DiffusionDet, batches: list[Batch], settings: SamplerSettings) -> list[list[Detections]]:
    """Images x seeds, each with its own forward pass of the whole model."""
    found = []
    for batch in batches:
        for i, image in enumerate(batch.images):
            whwh = batch.sizes[i : i + 1].flip(1).float().repeat(1, 2)
            ids = batch.image_ids[i : i + 1].tolist()
            found.append([sample(model, model.features(image[None]), whwh, ids, [s], settings)[0][0] for s in SEEDS])
    return found


def check(ours: list[list[Detections]], plain: list[list[Detections]]) -> None:
    """The same detections, up to the rounding of matrix products."""
    for a, b in zip((d for image in ours for d in image), (d for image in plain for d in image), strict=True):
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-3, atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5, help="timed passes of each way")
    args = parser.parse_args()
    split = scenes("val")
    batches = list(image_batches(split.select(list(range(min(args.images, len(split))))), BATCH))
    ours, plain = detector("baseline", "separable").eval(), detector("baseline", "torchvision").eval()
    print(HEADER)
    with torch.inference_mode():
        for steps in (1, 5, 20):
            settings = replace(ours.settings.sampler, sample_step=steps)
            check(one_pass(ours, batches[:1], settings), one_by_one(plain, batches[:1], settings))
            times = compare(
                lambda s=settings: one_pass(ours, batches, s), lambda s=settings: one_by_one(plain, batches, s),
                args.repeats, warmup=1,
            )  # fmt: skip
            print(times.row(f"{len(SEEDS)} seeds, {steps} step(s)"), flush=True)


if __name__ == "__main__":
    main()
