"""Real photographs: pretrained backbone, VOC directory, training and both APs, where ../shared/data/bccd is there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2o_evidence.detections import Detections
from c2o_evidence.metrics import GroundTruth
from c2o_model.config import load_config
from c2o_model.data.coco import load_manifest_split
from c2o_model.data.voc import read_names
from c2o_model.data.voc_copy import import_voc
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.modeling.efficientnet import package_file
from c2o_model.training.run import train

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "data" / "bccd.yaml").read_text("utf-8"))
SOURCE = ROOT / CONFIG["root"]

pytestmark = pytest.mark.skipif(
    not SOURCE.is_dir(), reason=f"no photographs: {SOURCE} (the BCCD set in VOC layout) is absent"
)

# A minute on one thread: a smaller image, fewer iterations, a part of the set.
BUDGET = ["SOLVER.MAX_ITER", 160, "SOLVER.WARMUP_ITERS", 20, "SOLVER.CHECKPOINT_PERIOD", 60, "SOLVER.BASE_LR", 0.002,
          "INPUT.MIN_SIZE_TRAIN", [160], "INPUT.MIN_SIZE_TEST", 160, "MODEL.BACKBONE.FREEZE_AT", 5,
          "MODEL.DiffusionDet.NUM_PROPOSALS", 48, "MODEL.DiffusionDet.ROI_CANONICAL_SIZE", 75.0]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "bccd"
    import_voc(CONFIG, out, ROOT)
    return out


def test_the_set_is_taken_in_whole(data: Path) -> None:
    """4155 + 372 + 361 objects, two without area, in 292 + 72 photographs of 640 x 480 px."""
    train_split, val = load_manifest_split(data, "train"), load_manifest_split(data, "val")
    assert train_split.class_names == ("Platelets", "RBC", "WBC")
    assert (len(train_split), len(val)) == (len(read_names(SOURCE, "trainval")), len(read_names(SOURCE, "test")))
    counts = [sum(int((labels == k).sum()) for s in (train_split, val) for labels in s.labels) for k in range(3)]
    assert counts == [361, 4155 - 2, 372]
    assert {tuple(size) for size in train_split.sizes.tolist()} == {(480, 640)}


def test_the_pretrained_detector_learns_from_photographs(data: Path, tmp_path: Path) -> None:
    package_file()
    cfg = load_config(ROOT / "configs" / "models" / "photos" / "small.yaml", BUDGET)
    curve = train(
        cfg, seed=0, split=load_manifest_split(data, "train"), output=tmp_path / "m.safetensors",
        state_dir=tmp_path / "state", recipe="r", metadata={},
    )  # fmt: skip
    assert [row["iteration"] for row in curve] == list(range(20, 161, 20))
    assert curve[-1]["loss"] < 0.65 * curve[0]["loss"]
    val = load_manifest_split(data, "val").select(list(range(24)))
    part = GroundTruth(_only(data / "val.json", val.image_ids), "val")
    found = {}
    for run in evaluate(cfg, tmp_path / "m.safetensors", val, [EvalRow("one", 1), EvalRow("four", 4)], [0]):
        found[run.exp_id] = part.evaluate(Detections.from_arrays(vars(run)), val.class_names)
    print({name: {k: round(v, 1) for k, v in metrics.items()} for name, metrics in found.items()})
    for metrics in found.values():  # a start: after 160 small iterations the frequent class is found now and then
        assert metrics["AP_voc07-RBC"] > 1 and metrics["AP50"] > 0.2, metrics
        # At IoU 0.5 the two definitions differ in interpolation alone.
        assert math.isclose(metrics["AP50"], metrics["AP_voc07"], abs_tol=10)


def _only(path: Path, image_ids: tuple[int, ...]) -> dict[str, Any]:
    """The annotations of some images."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    document["images"] = [item for item in document["images"] if item["id"] in image_ids]
    document["annotations"] = [item for item in document["annotations"] if item["image_id"] in image_ids]
    return document
