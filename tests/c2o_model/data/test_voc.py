"""VOC layout: coordinates, flags and lists by hand; faults named; hostile XML refused; a copy with its digests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2o_model.data.coco import load_manifest_split
from c2o_model.data.errors import DataError
from c2o_model.data.voc import parse_xml
from c2o_model.data.voc_copy import import_voc

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>
<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def annotate(root: Path, name: str, objects: list[tuple[str, tuple[int, int, int, int], int]]) -> None:
    body = "".join(OBJECT.format(*box, name=label, difficult=mark) for label, box, mark in objects)
    size = "<size><width>20</width><height>10</height><depth>3</depth></size>"
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{body}</annotation>")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    for number, name in enumerate(("a", "b", "c")):
        Image.fromarray(np.full((10, 20, 3), 40 * number, np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
    annotate(root, "a", [("cat", (1, 1, 20, 10), 0), ("dog", (3, 4, 7, 9), 1), ("dog", (5, 5, 5, 5), 0)])
    annotate(root, "b", [("cat", (2, 2, 4, 4), 0)])
    annotate(root, "c", [])
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("b\na\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("c\n")
    return root


def config(root: Path | str, **more: Any) -> dict[str, Any]:
    return {"name": "pets", "kind": "voc", "root": str(root), "splits": {"train": "trainval", "val": "test"}, **more}


def test_boxes_count_from_one_and_include_both_ends(source: Path, tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        manifest = import_voc(config(source), tmp_path / "data" / "pets", tmp_path)
    split = load_manifest_split(tmp_path / "data" / "pets", "train")
    assert split.class_names == ("cat", "dog") and split.file_names == ("images/train/b.jpg", "images/train/a.jpg")
    assert split.boxes[1].tolist() == [[0, 0, 20, 10], [2, 3, 7, 9]] and split.labels[1].tolist() == [0, 1]
    assert split.boxes[0].tolist() == [[1, 1, 4, 4]]
    marks = [item["difficult"] for item in json.loads((tmp_path / "data/pets/train.json").read_text())["annotations"]]
    assert marks == [0, 0, 1]
    assert "left out 1 boxes without area: a dog [5, 5, 5, 5]" in caplog.text
    assert manifest.splits["train"]["objects"] == 3 and manifest.splits["val"]["images"] == 1
    assert len(load_manifest_split(tmp_path / "data" / "pets", "val").boxes[0]) == 0


def test_a_second_import_keeps_the_copy_and_equal_sources_give_equal_digests(source: Path, tmp_path: Path) -> None:
    first = import_voc(config(source), tmp_path / "one", tmp_path)
    before = (tmp_path / "one" / "manifest.json").stat().st_mtime_ns
    import_voc(config(source), tmp_path / "one", tmp_path)
    assert (tmp_path / "one" / "manifest.json").stat().st_mtime_ns == before
    assert import_voc(config("source"), tmp_path / "two", tmp_path).sha256 == first.sha256


def test_the_root_may_come_from_the_environment(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PETS_ROOT", str(source))
    import_voc(config("$PETS_ROOT"), tmp_path / "data", tmp_path)
    with pytest.raises(DataError, match="NO_SUCH_ROOT.*an environment variable of `root` is not set; set it to the"):
        import_voc(config("$NO_SUCH_ROOT/pets"), tmp_path / "other", tmp_path)


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "{}">]><annotation>&b;</annotation>'
Damage = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "Annotations/a.xml").write_text(BOMB), "a.xml: has a document type, whose entities"),
        (lambda s: (s / "Annotations/a.xml").write_bytes(BOMB.encode("utf-16")), "has a document type"),
        (lambda s: (s / "Annotations/a.xml").write_text("<annotation><size>"), "a.xml: is not XML, corrupt or trunc"),
        (lambda s: (s / "Annotations/a.xml").write_text("<a>" + " " * (1 << 20) + "</a>"), "a.xml: has .* bytes, over"),
        (lambda s: (s / "Annotations/a.xml").unlink(), "a.xml: is missing; put the annotation file there"),
        (lambda s: annotate(s, "a", [("", (1, 1, 2, 2), 0)]), "a.xml: object 1: name: is missing"),
        (lambda s: annotate(s, "a", [("cat", ("nan", 1, 2, 2), 0)]), "object 1: bndbox/xmin: 'nan' is no pixel posi"),
        (lambda s: annotate(s, "a", [("cat", ("", 1, 2, 2), 0)]), "object 1: bndbox/xmin: '' is not a number"),
        (lambda s: (s / "JPEGImages/b.jpg").unlink(), "b.jpg: is missing; put the image there"),
        (lambda s: (s / "JPEGImages/b.jpg").write_bytes(b"x"), "b.jpg: cannot be decoded"),
        (lambda s: Image.new("RGB", (9, 9)).save(s / "JPEGImages/b.jpg"), "b.jpg: is 9 x 9 px high x wide"),
        (lambda s: (s / "ImageSets/Main/test.txt").unlink(), r"test.txt: is missing; name a list that is there \(trainv"),
        (lambda s: (s / "ImageSets/Main/test.txt").write_text(""), "test.txt: is empty"),
        (lambda s: (s / "ImageSets/Main/test.txt").write_text("c\nc\n"), "test.txt: c is listed twice"),
        (lambda s: (s / "ImageSets/Main/test.txt").write_text("c 1\n"), "test.txt: 'c 1' is not an image name"),
        (lambda s: (s / "ImageSets/Main/test.txt").write_text("../c\n"), "'../c' is not an image name"),
        (lambda s: (s / "ImageSets/Main/test.txt").write_text("b\n"), "b is in the splits train and val"),
        (lambda s: (s / "JPEGImages").rename(s / "images"), "JPEGImages: is missing; a VOC layout has"),
    ],
)
def test_faults_are_named_and_nothing_is_left_behind(source: Path, tmp_path: Path, damage: Damage, message: str) -> None:
    damage(source)
    with pytest.raises(DataError, match=message):
        import_voc(config(source), tmp_path / "data" / "pets", tmp_path)
    assert [p.name for p in (tmp_path / "data").iterdir()] == [".pets.lock"]


def test_an_absent_directory_and_an_unlisted_class_say_what_to_do(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: does not exist; put a data set in VOC layout there, or correct `root`"):
        import_voc(config(tmp_path / "nowhere"), tmp_path / "data", tmp_path)
    with pytest.raises(DataError, match=r"'dog' is not one of the classes \['cat'\]; add it to `classes`"):
        import_voc(config(source, classes=["cat"]), tmp_path / "data", tmp_path)
    with pytest.raises(DataError, match="sha256: expected 0000"):
        import_voc(config(source, sha256="0" * 64), tmp_path / "data", tmp_path)


def test_characters_and_cdata_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<annotation><object><name>r&amp;b &#233;<![CDATA[<]]></name></object></annotation>")
    assert parse_xml(tmp_path / "x.xml").findtext("object/name") == "r&b é<"
