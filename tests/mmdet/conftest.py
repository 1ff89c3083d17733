# ruff: noqa: E402
"""What tests of running MMDetection share: the embedded set in small, and arguments for the command line."""

from __future__ import annotations

from c2o_model.determinism import pin_environment

pin_environment()

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from c2o_model.data.digits import generate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Kernels and the global generator are given back as they were."""
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set digits_mini: 160 images to train on, 24 to validate."""
    place = tmp_path_factory.mktemp("data") / "digits_mini"
    generate(yaml.safe_load((ROOT / "configs/data/digits_mini.yaml").read_text(encoding="utf-8")), place)
    return place


@pytest.fixture
def options(mini: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Makes the launcher's arguments behind CONFIG: the mini set, this work directory, one epoch, more values."""

    def make(values: Mapping[str, Any] | None = None, work: str = "work") -> list[str]:
        loaders = {
            f"{name}_dataloader.dataset.{key}": value
            for name, split in (("train", "train"), ("val", "val"), ("test", "val"))
            for key, value in (("data_root", f"{mini}/"), ("ann_file", f"{split}.json"))
        }
        scores = {f"{name}_evaluator.ann_file": mini / "val.json" for name in ("val", "test")}
        short = {"train_cfg.max_epochs": 1, "param_scheduler.1.T_max": 1}
        given = {**loaders, **scores, **short, **(values or {})}
        return ["--work-dir", str(tmp_path / work), "--cfg-options", *(f"{k}={v}" for k, v in given.items())]

    return make


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
