"""Public sets from tiny files in each set's own format: boxes and labels by hand, faults named."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2o_model.data.coco import CROWD, CocoSplit
from c2o_model.data.crowdhuman import crowdhuman_document, image_size
from c2o_model.data.errors import DataError
from c2o_model.data.images import decode
from c2o_model.data.public_sets import PUBLIC, VOC_CLASSES, load_public, write_document
from c2o_model.data.registration import dataset_dicts, named_split, register
from tests.c2o_model.data.public_files import load, picture, write


# ---- VOC


def voc(root: Path) -> Path:
    top = root / "VOC2007"
    picture(top / "JPEGImages" / "000005.jpg")
    body = "<size><width>20</width><height>10</height></size>"
    for label, difficult, box in (("dog", 0, (1, 1, 20, 10)), ("tvmonitor", 1, (3, 4, 7, 9))):
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        body += f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"
    write(top / "Annotations" / "000005.xml", f"<annotation>{body}</annotation>")
    write(top / "ImageSets" / "Main" / "trainval.txt", "000005\n")
    return top


def test_voc_by_name(tmp_path: Path) -> None:
    voc(tmp_path)
    split = load("voc_2007_trainval", tmp_path)
    assert split.class_names == VOC_CLASSES and len(VOC_CLASSES) == 20
    assert split.boxes[0].tolist() == [[0, 0, 20, 10], [2, 3, 7, 9]]
    assert split.labels[0].tolist() == [11, 19]  # dog, tvmonitor in alphabetical order
    assert [a["difficult"] for a in json.loads(split.annotation.read_text())["annotations"]] == [0, 1]
    assert decode(split, 0).shape == (3, 10, 20)


def test_voc_classes_are_detectron2s() -> None:
    names = pytest.importorskip("detectron2.data.datasets.pascal_voc").CLASS_NAMES
    assert tuple(names) == VOC_CLASSES


def test_a_class_that_voc_does_not_have(tmp_path: Path) -> None:
    path = voc(tmp_path) / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("dog", "wolf"))
    with pytest.raises(DataError, match="000005.xml: 'wolf' is not one of the classes"):
        load("voc_2007_trainval", tmp_path)


# ---- LVIS


def lvis(root: Path, **image: Any) -> Path:
    picture(root / "coco" / "train2017" / "000000000007.jpg")
    picture(root / "coco" / "val2017" / "000000000009.jpg")
    url = "http://images.cocodataset.org/{}"
    return write(
        root / "lvis" / "lvis_v1_val.json",
        {
            "images": [
                {
                    "id": 9,
                    "width": 20,
                    "height": 10,
                    "coco_url": url.format("val2017/000000000009.jpg"),
                    "neg_category_ids": [3],
                    "not_exhaustive_category_ids": [],
                    "license": 1,
                },
                {"id": 7, "width": 20, "height": 10, "coco_url": url.format("train2017/000000000007.jpg"), **image},
            ],
            "annotations": [
                {"id": 1, "image_id": 9, "category_id": 1203, "bbox": [2.5, 3, 4, 5], "area": 11.5, "segmentation": []},
                {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 20, 10], "area": 200, "segmentation": []},
            ],
            "categories": [{"id": 3, "name": "bolt", "synset": "x"}, {"id": 1203, "name": "zucchini", "synset": "y"}],
        },
    )


def test_lvis_finds_its_images_by_url(tmp_path: Path) -> None:
    lvis(tmp_path)
    split = load("lvis_v1_val", tmp_path)
    assert split.image_ids == (7, 9)
    assert split.file_names == ("train2017/000000000007.jpg", "val2017/000000000009.jpg")
    assert [b.tolist() for b in split.boxes] == [[[0, 0, 20, 10]], [[2.5, 3, 6.5, 8]]]
    assert [x.tolist() for x in split.labels] == [[0], [1]] and split.category_ids == (3, 1203)
    document = json.loads(split.annotation.read_text())
    assert document["images"][0]["neg_category_ids"] == [3]
    assert document["annotations"][0] == {
        "id": 1,
        "image_id": 9,
        "category_id": 1203,
        "bbox": [2.5, 3, 4, 5],
        "area": 11.5,
        "iscrowd": 0,
    }
    assert split.annotation.name.startswith("lvis_v1_val-") and split.annotation.parent == tmp_path / "converted"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"coco_url": "http://x/a.jpg"}, r"images\[1\]: coco_url: 'http://x/a.jpg' does not end in DIRECTORY2017/FILE"),
        ({"coco_url": 4}, r"images\[1\]: coco_url: 4 is not a name"),
        ({"width": "20"}, r"images\[1\]: width: '20' is not an integer"),
    ],
)
def test_bad_lvis(tmp_path: Path, image: dict[str, Any], message: str) -> None:
    lvis(tmp_path, **image)
    with pytest.raises(DataError, match=f"lvis_v1_val.json: {message}"):
        load("lvis_v1_val", tmp_path)


# ---- CrowdHuman


def person(fbox: list[float], tag: str = "person", **extra: Any) -> dict[str, Any]:
    return {"tag": tag, "fbox": fbox, "vbox": [1, 1, 1, 1], "hbox": [1, 1, 1, 1], **({"extra": extra} if extra else {})}


def crowd(root: Path, *lines: Any) -> Path:
    for name in ("273271,c9db000d5146c15", "b"):
        picture(root / "crowdhuman" / "Images" / f"{name}.jpg")
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    return write(root / "crowdhuman" / "annotation_val.odgt", text)


def test_crowdhuman_full_boxes_cut_and_ignored(tmp_path: Path, caplog: Any) -> None:
    boxes = [
        person([2, 1, 5, 6], box_id=0, occ=0),
        person([-3, -2, 10, 20]),  # leaves on the left, above, below: 0..7 x 0..10 is left
        person([4, 4, 4, 4], tag="mask", ignore=1),
        person([5, 5, 3, 3], ignore=1),
        person([30, 2, 5, 5]),  # right of the image
    ]
    crowd(tmp_path, {"ID": "273271,c9db000d5146c15", "gtboxes": boxes}, "", {"ID": "b", "gtboxes": []})
    with caplog.at_level(logging.WARNING):
        split = load("crowdhuman_val", tmp_path)
    assert split.class_names == ("person",) and split.image_ids == (1, 2)
    assert split.file_names == ("273271,c9db000d5146c15.jpg", "b.jpg") and split.sizes.tolist() == [[10, 20]] * 2
    assert split.boxes[0].tolist() == [[2, 1, 7, 7], [0, 0, 7, 10]] and split.boxes[1].shape == (0, 4)
    assert [(item.annotation_id, item.reason) for item in split.dropped] == [(3, CROWD), (4, CROWD)]
    written = json.loads(split.annotation.read_text())["annotations"]
    assert [item["area"] for item in written] == [30, 70, 16, 9]
    assert [item["iscrowd"] for item in written] == [0, 0, 1, 1]
    assert "left out 1 boxes with no area in their image: 273271,c9db000d5146c15 [30, 2, 5, 5]" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"ID": "b", '], "annotation_val.odgt: line 1: is not JSON, corrupt or truncated"),
        (["[1]"], "annotation_val.odgt: line 1: is not a JSON object"),
        ([{"gtboxes": []}], "line 1: ID: is missing; correct the annotation file"),
        ([{"ID": "../b", "gtboxes": []}], "line 1: ID: '../b' is not a file name"),
        ([{"ID": "b"}], "line 1: gtboxes: is missing or not a list"),
        ([{"ID": "b", "gtboxes": []}] * 2, "line 2: ID: b is used twice"),
        ([{"ID": "b", "gtboxes": [{"tag": "person"}]}], r"line 1: gtboxes\[0\]: fbox: is missing"),
        ([{"ID": "b", "gtboxes": [person([1, 2, 3])]}], r"gtboxes\[0\]: fbox: \[1, 2, 3\] is not \[x, y, width, hei"),
        (
            [{"ID": "b", "gtboxes": [person([1, 1, 2, 2], tag="dog")]}],
            "tag: 'dog' is neither 'person' nor 'mask'",
        ),
        ([{"ID": "gone", "gtboxes": []}], "Images/gone.jpg: is missing; put the image there"),
    ],
)
def test_bad_crowdhuman(tmp_path: Path, lines: list[Any], message: str) -> None:
    crowd(tmp_path, *lines)
    with pytest.raises(DataError, match=message):
        load("crowdhuman_val", tmp_path)


def test_crowdhuman_sizes_are_those_of_the_decoded_image(tmp_path: Path) -> None:
    path = tmp_path / "crowdhuman" / "Images" / "b.jpg"
    picture(path)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # turned by a quarter
        image.copy().save(path, exif=exif)
    write(tmp_path / "crowdhuman" / "annotation_val.odgt", json.dumps({"ID": "b", "gtboxes": []}))
    assert image_size(path) == (20, 10)
    assert decode(load("crowdhuman_val", tmp_path), 0).shape == (3, 20, 10)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="b.jpg: cannot be decoded .*; copy it again"):
        crowdhuman_document(tmp_path / "crowdhuman" / "annotation_val.odgt", path.parent)


# ---- what all have in common


def test_cocos_ap_of_a_converted_set(tmp_path: Path, capsys: Any) -> None:
    """Both persons found, and a detection on what is ignored, the best of all: that one must not count."""
    from c2o_model.evaluation.coco_ap import print_ap
    from c2o_model.evaluation.run import RunDetections

    boxes = [person([2, 1, 5, 6]), person([10, -3, 6, 9]), person([0, 8, 20, 2], tag="mask", ignore=1)]
    crowd(tmp_path, {"ID": "b", "gtboxes": boxes})
    found = np.array([[0, 8, 20, 10], [2, 1, 7, 7], [10, 0, 16, 6]], np.float32)
    run = RunDetections(
        "x", 0, np.ones(3, np.int64), found, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64)
    )
    assert print_ap(load("crowdhuman_val", tmp_path), run) == pytest.approx(100)
    capsys.readouterr()


def test_in_detectron2s_catalogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogs = pytest.importorskip("detectron2.data")
    crowd(tmp_path, {"ID": "b", "gtboxes": [person([2, 1, 5, 6]), person([1, 1, 2, 2], ignore=1)]})
    lvis(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register()
    try:
        (item,) = catalogs.DatasetCatalog.get("crowdhuman_val")
        assert item["file_name"] == str(tmp_path / "crowdhuman" / "Images" / "b.jpg") and item["image_id"] == 1
        assert [(a["bbox"], a["category_id"]) for a in item["annotations"]] == [([2, 1, 7, 7], 0)]
        assert catalogs.MetadataCatalog.get("crowdhuman_val").thing_classes == ["person"]
        # LVIS is Detectron2's own entry, which needs a package; ours does not.
        assert [d["annotations"][0]["bbox"] for d in dataset_dicts("lvis_v1_val")] == [[0, 0, 20, 10], [2.5, 3, 6.5, 8]]
        assert named_split("lvis_v1_val").annotation.parent == Path("data/converted")
    finally:
        register({})


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_missing_set_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    wanted = PUBLIC[name]
    needed = [wanted.annotation, wanted.images, *wanted.more]
    for part in needed:
        with pytest.raises(DataError) as caught:
            load(name, tmp_path)
        text = str(caught.value)
        assert text.startswith(f"{tmp_path / part}: is missing, {name} needs it; put ")
        assert "$DETECTRON2_DATASETS/" in text and text.endswith(
            ", or set DETECTRON2_DATASETS to where they are (docs/datasets.md)"
        )
        if part == wanted.annotation:
            write(tmp_path / part, "{}")
        else:
            (tmp_path / part).mkdir(parents=True)


def test_the_documentation_has_every_set_and_place() -> None:
    text = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8")
    for name, wanted in PUBLIC.items():
        assert f"`{name}`" in text, name
        assert f"`{wanted.images}/" in text, wanted.images
        assert f"`{wanted.annotation}`" in text, wanted.annotation


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3, float("nan")], r"annotations\[0\]: bbox: \[1, 2, 3, nan\] is not \[x, y, width, height\]"),
        ([1, 2, 3, True], r"annotations\[0\]: bbox: \[1, 2, 3, True\] is not"),
        (None, r"annotations\[0\]: bbox: None is not"),
    ],
)
def test_bad_boxes(tmp_path: Path, box: Any, message: str) -> None:
    path = lvis(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = box
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        load("lvis_v1_val", tmp_path)


def test_written_once_and_named_by_its_content(tmp_path: Path) -> None:
    path = write_document({"b": 1, "a": 2}, tmp_path / "x", "set")
    assert path.name == "set-" + hashlib.sha256(b'{"a":2,"b":1}\n').hexdigest()[:16] + ".json"
    before = path.stat().st_mtime_ns
    assert write_document({"a": 2, "b": 1}, tmp_path / "x", "set") == path and path.stat().st_mtime_ns == before
    assert write_document({"a": 3}, tmp_path / "x", "set") != path
    assert sorted(p.suffix for p in (tmp_path / "x").iterdir()) == [".json", ".json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot be written to .*; make it a writable directory"):
        write_document({"a": 3}, tmp_path / "file", "set")
