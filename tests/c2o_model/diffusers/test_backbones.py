"""The pipeline with each backbone of the core: it is the core's own, so the bits are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from c2o_model.checkpoint import save_checkpoint
from c2o_model.diffusers.pipeline import HybridDiffusionPipeline
from c2o_model.modeling import swin
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.sampling.sampler import sample
from tests.c2o_model.diffusers.test_bits import IDS, SEEDS, same
from tests.c2o_model.modeling.test_efficientnet import RANDOM
from tests.c2o_model.modeling.test_resnets import values
from tests.c2o_model.modeling.test_swin import SMALL, VALUES


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, marks=pytest.mark.stack_feature("small_resnet", stack="diffusers"), id="small"),
        pytest.param(values(50), marks=pytest.mark.stack_feature("resnet", stack="diffusers"), id="r50"),
        pytest.param(
            {**VALUES, "MODEL.SWIN.SIZE": "T"}, marks=pytest.mark.stack_feature("swin", stack="diffusers"), id="swin"
        ),
        pytest.param(RANDOM, marks=pytest.mark.stack_feature("efficientnet", stack="diffusers"), id="efficientnet"),
    ],
)
def test_a_backbone_of_the_core(
    make_config: Any,
    make_detector: Any,
    tiny_batch: TrainingBatch,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    keys: dict[str, Any],
) -> None:
    monkeypatch.setitem(swin.SIZES, "T", SMALL)
    detector = make_detector(keys)
    save_checkpoint(tmp_path / "model.safetensors", detector.state_dict(), {})
    pipeline = HybridDiffusionPipeline.from_c2o(make_config(keys), tmp_path / "model.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    images = list(tiny_batch.images)
    with torch.no_grad():
        features = detector.features(images)
        expected = sample(detector, features, tiny_batch.whwh, IDS, SEEDS, detector.settings.sampler, 100)
    same(pipeline(images, IDS, SEEDS).detections, expected)
