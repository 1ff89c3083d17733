"""Data sets by name, in Detectron2's catalogs and for our loader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from c2o_model.data.coco import load_manifest_split
from c2o_model.data.errors import DataError
from c2o_model.data.manifest import DataManifest
from c2o_model.data.png import encode_png
from c2o_model.data.registration import JsonDataset, dataset_dicts, named_split, parse_extra, register

pytest.importorskip("detectron2")


@pytest.fixture
def extra(tmp_path: Path) -> str:
    """A value of EXTRA_COCO_DATASETS with one real set."""
    (tmp_path / "a.png").write_bytes(encode_png(np.zeros((6, 8, 3), np.uint8)))
    document = {
        "images": [{"id": 5, "file_name": "a.png", "width": 8, "height": 6}],
        "categories": [{"id": 9, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 9, "bbox": [1, 1, 2, 3]}],
    }
    (tmp_path / "set.json").write_text(json.dumps(document))
    return f"cells_train:{tmp_path / 'set.json'}:{tmp_path}"


def test_extra_is_parsed() -> None:
    assert parse_extra("") == parse_extra(" ; ") == ()
    assert parse_extra("a:x.json:img; b:/y.json:/pics ;") == (
        JsonDataset("a", Path("x.json"), Path("img")),
        JsonDataset("b", Path("/y.json"), Path("/pics")),
    )


@pytest.mark.parametrize(
    "value, message",
    [
        ("a:x.json", "'a:x.json' is not name:json:image_root; separate entries by ';'"),
        ("a::img", "'a::img' is not name:json:image_root"),
        ("a:b:c:d", "'a:b:c:d' is not name:json:image_root"),
        ("a:x:y;a:z:w", "a is listed twice; give each set its own name"),
        ("c2o_digits_val:x:y", "c2o_digits_val is the name of an embedded set; choose another name"),
        ("voc_2007_test:x:y", "voc_2007_test is the name of another registered set; choose another name"),
        ("repro10k_val:x:y", "repro10k_val is the name of another registered set; choose another name"),
        ("coco_2017_val:x:y", "coco_2017_val is the name of another registered set; choose another name"),
    ],
)
def test_bad_extra(value: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        register({"EXTRA_COCO_DATASETS": value})
    assert str(caught.value).startswith("EXTRA_COCO_DATASETS: ") and message in str(caught.value)


def test_embedded_and_extra_sets_in_detectron2(mini: DataManifest, extra: str) -> None:
    from detectron2.data import MetadataCatalog
    from detectron2.structures import BoxMode

    for _ in range(2):  # registering anew is allowed
        names = register({"EXTRA_COCO_DATASETS": extra}, mini.root)
    assert {"c2o_digits_train", "c2o_digits_holdout", "c2o_digits_val", "cells_train"} <= set(names)
    dicts = dataset_dicts("c2o_digits_val")
    split = load_manifest_split(mini.root, "val")
    assert [item["image_id"] for item in dicts] == list(split.image_ids)
    assert dicts[3]["file_name"] == str(mini.root / "images/val/000003.png")
    assert (dicts[3]["height"], dicts[3]["width"]) == (128, 128)
    assert [item["bbox"] for item in dicts[3]["annotations"]] == split.boxes[3].tolist()
    assert {item["bbox_mode"] for item in dicts[3]["annotations"]} == {BoxMode.XYXY_ABS}
    metadata = MetadataCatalog.get("c2o_digits_val")
    assert metadata.thing_classes == list("0123456789") and metadata.evaluator_type == "coco"
    assert metadata.json_file == str(mini.root / "val.json")
    assert dataset_dicts("cells_train")[0]["annotations"][0]["bbox"] == [1, 1, 3, 4]
    assert MetadataCatalog.get("cells_train").thing_dataset_id_to_contiguous_id == {9: 0}


def test_split_by_name(mini: DataManifest, extra: str) -> None:
    environ = {"EXTRA_COCO_DATASETS": extra}
    assert named_split("c2o_digits_train", environ, mini.root).annotation == mini.root / "train.json"
    assert named_split("cells_train", environ).class_names == ("cell",)


def test_set_that_is_not_generated_yet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest.json: is missing; generate the set first"):
        named_split("c2o_digits_train", {}, tmp_path)


@pytest.mark.parametrize(
    "name, missing",
    [
        ("coco_2017_val", "instances_val2017.json"),
        ("lvis_v1_val", "lvis_v1_val.json"),
        ("voc_2007_test", "VOC2007/ImageSets/Main/test.txt"),
        ("crowdhuman_train", "crowdhuman/annotation_train.odgt"),
        ("objects365_val", "objects365/annotations/zhiyuan_objv2_val.json"),
        ("repro10k_train", "coco/annotations/instances_train2017.json"),
    ],
)
def test_missing_data_says_what_and_where(name: str, missing: str) -> None:
    register({})
    with pytest.raises(DataError, match=f"{missing}: is missing, {name} needs it; .*set DETECTRON2_DATASETS"):
        dataset_dicts(name)
    with pytest.raises(DataError, match=f"{missing}: is missing"):
        named_split(name, {})


def test_sets_of_detectron2_without_converter_say_so(tmp_path: Path) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    DatasetCatalog.register("lvis_toy", list)
    MetadataCatalog.get("lvis_toy").set(json_file=str(tmp_path), image_root=str(tmp_path), evaluator_type="lvis")
    try:
        with pytest.raises(DataError, match="lvis_toy: is not in COCO format and has no converter; .*EXTRA_COCO_DATA"):
            named_split("lvis_toy", {})
    finally:
        DatasetCatalog.remove("lvis_toy")
        MetadataCatalog.remove("lvis_toy")


def test_unknown_name() -> None:
    register({})
    with pytest.raises(
        DataError, match="nothing: is not the name of a data set; use one of .*c2o_digits_train"
    ):
        dataset_dicts("nothing")
