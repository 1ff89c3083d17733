# ruff: noqa: E402
"""What the model's tests share: pinned kernels, a tiny configuration and a tiny set of coloured rectangles."""

from __future__ import annotations

from c2o_model.determinism import pin_environment

pin_environment()  # before torch is imported by any test below

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from c2o_model.config import config_from_dict, dump_resolved
from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.data.png import encode_png
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.targets import TrainingBatch

D = "MODEL.DiffusionDet."
CLASSES = 3
SIDE = 64
MakeConfig = Callable[..., CfgNode]
MakeDetector = Callable[..., DiffusionDet]

TINY: dict[str, Any] = {
    "MODEL.PIXEL_MEAN": [127.5, 127.5, 127.5],
    "MODEL.PIXEL_STD": [64.0, 64.0, 64.0],
    "MODEL.BACKBONE.NAME": "build_c2o_small_resnet_fpn_backbone",
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.SMALL_RESNET.STEM_CHANNELS": 4,
    "MODEL.SMALL_RESNET.CHANNELS": [8, 12, 16],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4"],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 3,
    D + "NUM_CLASSES": CLASSES,
    D + "NUM_PROPOSALS": 8,
    D + "NHEADS": 2,
    D + "HIDDEN_DIM": 16,
    D + "DIM_FEEDFORWARD": 32,
    D + "DIM_DYNAMIC": 4,
    D + "NUM_HEADS": 2,
    D + "NUM_REG": 1,
    D + "ROI_ALIGN_IMPL": "separable",
    D + "ROI_CANONICAL_SIZE": 12.0,
    D + "ROI_CANONICAL_LEVEL": 2,
    "INPUT.RANDOM_FLIP": "none",
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.BASE_LR": 0.002,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
    "SOLVER.WARMUP_ITERS": 5,
    "SOLVER.CHECKPOINT_PERIOD": 20,
    "SOLVER.MAX_ITER": 60,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_random_state() -> Iterator[None]:
    """Torch's global generator starts alike in every test and is given back."""
    before = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(before)


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """The tiny configuration; keyword arguments are keys below MODEL.DiffusionDet, a mapping any dotted keys."""

    def make(values: Mapping[str, Any] | None = None, **keys: Any) -> CfgNode:
        return config_from_dict({**TINY, **(values or {}), **{D + k: v for k, v in keys.items()}})

    return make


@pytest.fixture(scope="session")
def make_detector(make_config: MakeConfig) -> MakeDetector:
    """A tiny detector with weights of a fixed seed, in evaluation mode; arguments as `make_config`.

    All weights of one-dimensional parameters are moved off their round initial values, and class scores
    are brought near 0.5, so that nothing passes a test by being zero.
    """

    def make(values: Mapping[str, Any] | None = None, seed: int = 1, **keys: Any) -> DiffusionDet:
        torch.manual_seed(seed)
        model = build_model(make_config(values, **keys))
        assert isinstance(model, DiffusionDet)
        with torch.no_grad():
            for name, parameter in sorted(model.named_parameters()):
                if parameter.dim() == 1:
                    parameter += 0.1 * torch.randn(parameter.shape)
                if name.endswith("class_logits.bias"):
                    parameter += 4.0
        return model.eval()

    return make


def _write_split(root: Path, count: int, seed: int) -> CocoSplit:
    """`count` images with 1 to 3 rectangles, whose colour is their class."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(count):
        pixels = rng.integers(90, 150, (SIDE, SIDE, 3)).astype(np.uint8)
        for _ in range(int(rng.integers(1, 4))):
            w, h = (int(v) for v in rng.integers(12, 30, 2))
            x, y = int(rng.integers(0, SIDE - w)), int(rng.integers(0, SIDE - h))
            label = int(rng.integers(CLASSES))
            pixels[y : y + h, x : x + w] = 0
            pixels[y : y + h, x : x + w, label] = 255
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 10 * index + 7, "category_id": 2 * label + 1,
                 "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            )  # fmt: skip
        name = f"{index:03d}.png"
        (root / name).write_bytes(encode_png(pixels))
        images.append({"id": 10 * index + 7, "file_name": name, "width": SIDE, "height": SIDE})
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 2 * k + 1, "name": name} for k, name in enumerate(("red", "green", "blue"))],
    }
    (root / "set.json").write_text(json.dumps(document))
    return load_split(root / "set.json", root)


@pytest.fixture(scope="session")
def tiny_split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    """12 images of 64 x 64 px, 3 classes."""
    return _write_split(tmp_path_factory.mktemp("tiny"), 12, 5)


@pytest.fixture(scope="session")
def tiny_batch(tiny_split: CocoSplit) -> TrainingBatch:
    """The first four images with their boxes."""
    from c2o_model.data.loader import image_batches

    batch = next(image_batches(tiny_split, 4))
    whwh = batch.sizes.flip(1).float().repeat(1, 2)
    return TrainingBatch(batch.images, batch.boxes, batch.labels, batch.mask, whwh)


@pytest.fixture
def tiny_arguments(
    make_config: MakeConfig, tiny_split: CocoSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[str]]]:
    """Makes `train_net`'s arguments for so many iterations of the tiny model, with more values, on a registered set."""
    monkeypatch.setenv("EXTRA_COCO_DATASETS", f"tiny_set:{tiny_split.annotation}:{tiny_split.image_root}")

    def arguments(iterations: int, values: Mapping[str, Any] | None = None) -> list[str]:
        (tmp_path / "tiny.yaml").write_text(dump_resolved(make_config(values)))
        sets = ["DATASETS.TRAIN", "('tiny_set',)", "DATASETS.TEST", "('tiny_set',)"]
        out = ["OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.MAX_ITER", str(iterations)]
        return ["--config-file", str(tmp_path / "tiny.yaml"), *out, *sets]

    yield arguments
    torch.use_deterministic_algorithms(False)  # `train_net` has switched them on
