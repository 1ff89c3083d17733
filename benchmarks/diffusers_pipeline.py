"""The Diffusers pipeline against the sampler that it is made around: what the schedulers cost.

    python -m benchmarks.diffusers_pipeline [--images 8] [--repeats 15]

Both get pictures in memory and the same seeds, backbone included; first they must give the same bits. The model is
that of configs/models/digits/warmstart.yaml with its initial weights.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.workbench import HEADER, ROOT, compare, scenes  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.checkpoint import save_checkpoint
from c2o_model.config import load_config
from c2o_model.data.inference import inference_batches
from c2o_model.diffusers import C2ODetector, HybridDiffusionPipeline
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample

SEEDS = (0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each way")
    args = parser.parse_args()
    split = scenes("val")
    (batch,) = inference_batches(split.select(list(range(min(args.images, len(split))))), args.images)
    cfg = load_config(ROOT / "configs/models/digits/warmstart.yaml")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="c2o-benchmark-") as directory:
        path = Path(directory) / "model.safetensors"
        save_checkpoint(path, C2ODetector.from_c2o(cfg).model.state_dict(), {})
        pipeline = HybridDiffusionPipeline.from_c2o(cfg, path)
    pipeline.set_progress_bar_config(disable=True)
    model, images = pipeline.detector.model, list(batch.images)

    def core(steps: int) -> list[list[Detections]]:
        settings = replace(model.settings.sampler, sample_step=steps)
        with torch.no_grad():
            features = model.features(batch.images)
            return sample(model, features, batch.whwh, batch.image_ids, SEEDS, settings, cfg.TEST.DETECTIONS_PER_IMAGE)

    def piped(steps: int) -> list[list[Detections]]:
        return pipeline(images, batch.image_ids, SEEDS, num_inference_steps=steps).detections

    print(HEADER.replace("    ours ms", "    core ms").replace("straightforward", "       pipeline"))
    for steps in (1, 4, 20):
        for a, b in zip(core(steps), piped(steps), strict=True):
            assert all(
                torch.equal(x.boxes, y.boxes) and torch.equal(x.scores, y.scores) for x, y in zip(a, b, strict=True)
            )
        times = compare(lambda k=steps: core(k), lambda k=steps: piped(k), args.repeats)
        print(times.row(f"{len(images)} pictures, {len(SEEDS)} seeds, {steps} step(s)"), flush=True)


if __name__ == "__main__":
    main()
