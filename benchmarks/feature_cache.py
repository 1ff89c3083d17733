"""A training step with a frozen backbone, its pyramids cached against computed at every step.

    python -m benchmarks.feature_cache [--repeats 20]

The same trainer twice, as in the chain's fine-tuning stages; only the source of the pyramid differs. Also printed:
how long the cache of the 160 scenes takes to fill, and how large it is. First both must give the same losses.
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.train_step import BATCH, Trainer
from benchmarks.workbench import HEADER, ROOT, compare, detector, scenes  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.config import load_config
from c2o_model.data.loader import SeededBatches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.training.features import cached_features

MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=20, help="timed steps of each")
    repeats = parser.parse_args().repeats
    split = scenes("train").without_empty()
    cfg = load_config(ROOT / "configs/models/digits/warmstart.yaml")
    batches = SeededBatches(split, BATCH, 0)
    models = [detector("warmstart", "separable").train() for _ in range(2)]
    started = time.perf_counter()
    cache = cached_features(models[0], split, 1024)
    seconds = time.perf_counter() - started
    assert cache is not None
    size = sum(level.numel() * level.element_size() for level in cache.levels) / MB
    print(f"cache of {len(split)} images: {size:.0f} MB, filled in {seconds:.2f} s")
    with_cache, without = (
        Trainer(cfg, model, batches, DiffusionDet.losses, source)
        for model, source in zip(models, (cache, None), strict=True)
    )
    torch.testing.assert_close(with_cache.step(), without.step(), rtol=1e-3, atol=1e-4)
    print(HEADER)
    print(compare(with_cache.step, without.step, repeats).row("step from the cache"))


if __name__ == "__main__":
    main()
