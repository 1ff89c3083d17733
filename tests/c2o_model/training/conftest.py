"""A trainer over the tiny set: one call a run, each in its own directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2o_model.training.run import train

PRETRAINER = {
    "MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer", "MODEL.RESNETS.NORM": "BN",
    "MODEL.PRETRAIN.SIZE_EDGES": [16.0, 24.0], "SOLVER.MAX_ITER": 20,
}  # fmt: skip


@pytest.fixture(scope="session")
def run_training(make_config: Any, tiny_split: Any) -> Callable[..., list[dict[str, float]]]:
    """`train` into `directory`; `values` and keyword arguments as `make_config`, `more` goes to `train`."""

    def run(directory: Path, values: Any = None, more: Any = None, **keys: Any) -> list[dict[str, float]]:
        given = {"seed": 3, "split": tiny_split, "recipe": "r", "metadata": {"x": "y"}, **(more or {})}
        return train(
            make_config(values, **keys), output=directory / "m.safetensors", state_dir=directory / "state", **given
        )

    return run


@pytest.fixture(scope="session")
def trained(run_training: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain detector after 60 iterations, 8 nodes."""
    directory = tmp_path_factory.mktemp("trained")
    run_training(directory)
    return directory / "m.safetensors"


@pytest.fixture(scope="session")
def backbone(run_training: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained tiny backbone."""
    directory = tmp_path_factory.mktemp("backbone")
    run_training(directory, PRETRAINER)
    return directory / "m.safetensors"


@pytest.fixture(scope="session")
def loss_on_one_batch() -> Callable[..., list[float]]:
    """The sums of `losses()` over `iterations` steps of Adam (learning rate 3e-3) on what `student` may learn."""

    def curve(student: nn.Module, losses: Callable[[], Mapping[str, Tensor]], iterations: int) -> list[float]:
        optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 3e-3)
        seen = []
        for _ in range(iterations):
            loss = torch.stack(list(losses().values())).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(float(loss.detach()))
        return seen

    return curve
