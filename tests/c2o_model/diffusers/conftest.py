"""Pipelines of tiny detectors, made as users make them: from a checkpoint and its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from c2o_model.checkpoint import save_checkpoint
from c2o_model.diffusers import HybridDiffusionPipeline
from tests.c2o_model.sampling.test_sampler import KINDS as CORE_KINDS

KINDS: dict[str, dict[str, Any]] = {
    **CORE_KINDS,
    "gaussian": {"LABEL_STATE": True, "QUALITY_HEAD": True, "QUALITY_SCORE_REWEIGHT": True},
}
MakePair = Callable[..., tuple[Any, HybridDiffusionPipeline]]


@pytest.fixture(scope="session")
def make_pair(make_detector: Any, make_config: Any, tmp_path_factory: pytest.TempPathFactory) -> MakePair:
    """A detector of the core and the pipeline of its checkpoint; arguments as `make_detector`, after the kind."""
    made: dict[str, tuple[Any, HybridDiffusionPipeline]] = {}

    def make(kind: str, **keys: Any) -> tuple[Any, HybridDiffusionPipeline]:
        name = f"{kind} {sorted(keys.items())}"
        if name not in made:
            detector = make_detector(**KINDS[kind], **keys)
            if detector.head.label_embedding is not None:
                nn.init.normal_(detector.head.label_embedding.projection.weight)
            path: Path = tmp_path_factory.mktemp("pair") / "model.safetensors"
            save_checkpoint(path, detector.state_dict(), {})
            pipeline = HybridDiffusionPipeline.from_c2o(make_config(**KINDS[kind], **keys), path)
            pipeline.set_progress_bar_config(disable=True)
            made[name] = detector, pipeline
        return made[name]

    return make
