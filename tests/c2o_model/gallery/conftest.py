"""A small data set with its manifest, and a checkpoint of the tiny detector with its configuration beside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode

from c2o_model.checkpoint import save_checkpoint
from c2o_model.config import dump_resolved
from c2o_model.data import manifest
from c2o_model.data.coco import CocoSplit, load_manifest_split


@dataclass(frozen=True)
class Place:
    """The data directory, its val split, the checkpoint, its configuration as a file and as values."""

    data: Path
    split: CocoSplit
    checkpoint: Path
    config: Path
    cfg: CfgNode


@pytest.fixture(scope="session")
def place(
    make_config: Any, make_detector: Any, tiny_split: CocoSplit, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    root = tmp_path_factory.mktemp("gallery")
    data = root / "data" / "tiny"
    shutil.copytree(tiny_split.image_root, data)
    (data / "set.json").rename(data / "val.json")
    manifest.write(manifest.build(data, "tiny", {}, ["val"]))
    keys = {"QUALITY_HEAD": True, "QUALITY_SCORE_REWEIGHT": True, "SAMPLE_STEP": 2}
    folder = root / "train" / "seed0"
    folder.mkdir(parents=True)
    save_checkpoint(folder / "model.safetensors", make_detector(**keys).state_dict(), {})
    (folder / "config.yaml").write_text(dump_resolved(cfg := make_config(**keys)))
    return Place(data, load_manifest_split(data, "val"), folder / "model.safetensors", folder / "config.yaml", cfg)
