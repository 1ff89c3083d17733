"""A checkpoint of the tiny detector, trained long enough that it finds something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2o_model.training.run import train

VALUES = {"SOLVER.MAX_ITER": 240, "SOLVER.BASE_LR": 0.006, "SOLVER.IMS_PER_BATCH": 6}


@pytest.fixture(scope="session")
def config(make_config: Any) -> Any:
    return make_config(VALUES, QUALITY_HEAD=True)


@pytest.fixture(scope="session")
def checkpoint(config: Any, tiny_split: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    train(config, seed=0, split=tiny_split, output=directory / "m.safetensors", state_dir=directory / "state",
          recipe="r", metadata={})  # fmt: skip
    return directory / "m.safetensors"
