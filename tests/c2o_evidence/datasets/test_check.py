"""`c2o data check` on fabricated copies: whole ones hold, and each fault is told with its file and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from c2o_evidence.datasets import pictures
from c2o_evidence.datasets.coco_file import read_coco
from c2o_evidence.datasets.known import DATASETS
from c2o_evidence.datasets.names import find
from c2o_evidence.datasets.odgt_file import read_odgt
from c2o_evidence.datasets.outcome import Outcome
from c2o_evidence.datasets.voc_files import names_in, read_voc
from c2o_evidence.errors import DataSetError
from c2o_model.data.public_sets import PUBLIC, load_public
from tests import fabricated_sets
from tests.c2o_evidence.datasets.fitted import BUILD, counted, fitted, told

Check = Callable[..., Outcome]
VAL = "coco/annotations/instances_val2017.json"


def one(dataset: Any, name: str) -> Any:
    """The set with the split `name` alone."""
    return replace(dataset, splits=tuple(split for split in dataset.splits if split.name == name))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document))


# ---- whole copies


@pytest.mark.parametrize("name", sorted(BUILD))
def test_a_whole_copy_holds(name: str, tmp_path: Path, checked: Check) -> None:
    BUILD[name](tmp_path)
    dataset = fitted(name, tmp_path)
    outcome = checked(dataset, images=None)
    assert told(outcome) == [] and outcome.exit_code == 0
    assert outcome.text().endswith(f"\n{name}: holds")
    for split, found in zip(dataset.splits, outcome.splits, strict=True):
        good = [line.text for line in found.lines if line.level == "ok"]
        images, boxes, plain = counted(split, tmp_path)
        there = images - (split.name == "objects365_train")  # one of its images was never published
        assert f"all {there} image files are there" in good
        assert any(line.startswith(f"{there} of {there} pictures decode") for line in good)
        assert "the annotation file has the published SHA-256" in good
        assert f"{images} images, " in good[1] and f"{split.classes} classes, as published" in good[1]
        if split.plain_boxes is not None:
            assert f"{plain} of them not " in good[1]
        if split.boxes is not None:
            assert f"{boxes} boxes, " in good[1]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_same_images_and_sizes_as_the_converters_read(name: str, tmp_path: Path) -> None:
    dataset = find(name)
    BUILD[dataset.name](tmp_path)
    (split,) = dataset.splits
    path = tmp_path / split.annotation
    if split.format == "voc":
        found = read_voc(path, names_in(tmp_path / split.images))
    else:
        found = read_odgt(path) if split.format == "odgt" else read_coco(path, split.format)
    loaded = load_public(name, tmp_path, tmp_path / "converted")
    sizes = {name: (h, w) for name, h, w in zip(found.names, found.heights, found.widths, strict=True)}
    read = {name: tuple(size) for name, size in zip(loaded.file_names, loaded.sizes.tolist(), strict=True)}
    if split.format == "repro10k":
        assert found.candidates == len(read) and read.items() <= sizes.items()
    elif split.format == "odgt":
        assert sizes.keys() == read.keys() and set(sizes.values()) == {(0, 0)}  # the file says none
    else:
        assert {key: sizes[key] for key in read} == read and sizes.keys() - read.keys() <= split.never_published
    assert found.faults.counts == {}


def test_what_is_not_published_is_said_and_not_checked(tmp_path: Path, checked: Check) -> None:
    setting = fabricated_sets.extra(tmp_path)
    outcome = checked(find("cells_val", setting))
    assert outcome.exit_code == 0 and told(outcome, "ok")[0] == "all 4 image files are there"
    images, boxes, _ = counted(find("cells_val", setting).splits[0], tmp_path)
    assert told(outcome, "note") == [f"{images} images, {boxes} boxes, 3 classes; no published number to compare with"]


def test_a_digest_of_one_source_alone_is_no_fault(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.lvis(tmp_path)
    dataset = one(fitted("lvis_v1", tmp_path), "lvis_v1_val")
    split = replace(dataset.splits[0], sha256="0" * 64)
    outcome = checked(replace(dataset, splits=(split,)))
    assert outcome.exit_code == 0
    assert "the only public source found has " + "0" * 64 in told(outcome, "note")[0]
    certain = checked(replace(dataset, splits=(replace(split, certain=True),)))
    assert certain.exit_code == 1 and told(certain)[0].startswith(
        "the annotation file is not the published one: SHA-256 "
    )


# ---- faults of the annotations


def test_counts_are_compared(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.coco(tmp_path)
    dataset = one(fitted("coco", tmp_path), "coco_2017_val")
    boxes = dataset.splits[0].boxes

    def change(document: Any) -> None:
        del document["annotations"][0], document["categories"][-1]

    edit(tmp_path / VAL, change)
    outcome = checked(dataset)
    assert told(outcome)[1:] == [f"{boxes - 1} boxes, published are {boxes}", "79 classes, published are 80"]
    assert "-> get annotations_trainval2017.zip again" in outcome.text()


@pytest.mark.parametrize(
    ("change", "what", "place"),
    [
        (
            lambda d: d["images"][1].update(file_name="../../x.jpg"),
            "file_name: is no path inside the image",
            "images[1]",
        ),
        (lambda d: d["images"][1].update(file_name="/etc/x"), "file_name: is no path inside the image", "images[1]"),
        (lambda d: d["images"][1].update(file_name="\ud800"), "file_name: is no path inside the image", "images[1]"),
        (lambda d: d["images"][1].update(file_name="a\0"), "file_name: is no path inside the image", "images[1]"),
        (lambda d: d["images"][1].update(file_name=7), "file_name: is missing or no text", "images[1]"),
        (lambda d: d["images"][1].pop("id"), "id: is missing or no integer", "images[1]"),
        (lambda d: d["images"][1].update(id=d["images"][0]["id"]), "id: is used by an image before it", "images[1]"),
        (lambda d: d["images"][1].update(width=True), "height, width: are no image size", "images[1]"),
        (lambda d: d["images"].insert(0, []), "is not an object", "images[0]"),
        (lambda d: d["annotations"][0].update(image_id=5), "image_id: is not the id of an image", "annotations: 5"),
        (
            lambda d: d["annotations"][0].update(category_id=12),
            "category_id: is not the id of a class",
            "annotations: 12",
        ),
        (
            lambda d: d["annotations"][2].update(bbox=[1, 2, 3]),
            "bbox: is missing or not [x, y, width",
            "annotations[2]",
        ),
        (lambda d: d["annotations"][2].update(bbox=[1, 2, 3, 1e99]), "bbox: is missing or not [x, y", "annotations[2]"),
        (lambda d: d["annotations"][2].update(id="1"), "id, image_id or category_id: is missing", "annotations[2]"),
        (lambda d: d["categories"][3].update(id=1), "id: is used by a class before it", "categories[3]"),
        (lambda d: d["categories"][3].pop("name"), "id or name: is missing, no integer", "categories[3]"),
    ],
)
def test_bad_records_are_told_one_by_one(
    change: Callable[[Any], None], what: str, place: str, tmp_path: Path, checked: Check
) -> None:
    fabricated_sets.coco(tmp_path)
    edit(tmp_path / VAL, change)
    outcome = checked(one(DATASETS["coco"], "coco_2017_val"))
    lines = [line for line in outcome.splits[0].lines if what in line.text]
    assert lines and lines[0].level == "fault" and lines[0].places[0] == f"{tmp_path / VAL}: {place}", outcome.text()
    assert lines[0].todo == "correct the annotation file, or get it again"


def test_many_faults_of_a_kind_are_one_line(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.coco(tmp_path, images=8)
    edit(tmp_path / VAL, lambda d: [image.pop("height") for image in d["images"]])
    text = checked(one(DATASETS["coco"], "coco_2017_val")).text()
    assert "  ! 8 x height, width: are no image size\n" in text and "images[4]\n      … and 3 more\n" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": []', "images: is not JSON, corrupt or truncated"),
        ('{"images": [], "annotations": {}}', "annotations, categories: is missing or not a list"),
        ("", "is no JSON object"),
    ],
)
def test_an_annotation_file_that_is_none(content: str, message: str, tmp_path: Path, checked: Check) -> None:
    fabricated_sets.coco(tmp_path)
    (tmp_path / VAL).write_text(content)
    outcome = checked(one(DATASETS["coco"], "coco_2017_val"))
    (line,) = outcome.splits[0].lines
    assert line.level == "fault" and message in line.text and str(tmp_path / VAL) in line.text


def test_lvis_and_objects365_need_their_kind_of_path(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.lvis(tmp_path)
    fabricated_sets.objects365(tmp_path)
    edit(tmp_path / "lvis/lvis_v1_val.json", lambda d: d["images"][0].update(coco_url="http://x/a.jpg"))
    edit(tmp_path / "objects365/annotations/zhiyuan_objv2_val.json", lambda d: d["images"][0].update(file_name="a.jpg"))
    assert "coco_url: does not end in DIRECTORY2017/FILE" in told(checked(find("lvis_v1_val")))
    assert "file_name: does not end in patchN/FILE" in told(checked(find("objects365_val")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>", "has a document type, whose entities are not to be trusted"),
        ("<annotation>", "is not XML, corrupt or truncated"),
        ("<annotation><size><width>3</width></size></annotation>", "size: is missing or no image size"),
        (
            "<annotation><size><width>3</width><height>4</height></size><object><name>wolf</name></object></annotation>",
            "object: name: is missing or not one of the 20 classes",
        ),
        (
            "<annotation><size><width>3</width><height>4</height></size><object><name>dog</name></object></annotation>",
            "object: bndbox: is missing or no box in px",
        ),
        (None, "is missing"),
    ],
)
def test_bad_xml(content: str | None, message: str, tmp_path: Path, checked: Check) -> None:
    fabricated_sets.voc(tmp_path, "2007", images=2)
    path = tmp_path / "VOC2007" / "Annotations" / "000005.xml"
    path.unlink()
    if content is not None:
        path.write_text(content)
    outcome = checked(find("voc_2007_val"), images=0)
    (line,) = [line for line in outcome.splits[0].lines if message in line.text]
    assert line.level == "fault" and line.places == (str(path),)


def test_bad_lists(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.voc(tmp_path, "2012", images=2)
    path = tmp_path / "VOC2012" / "ImageSets" / "Main" / "val.txt"
    names = path.read_text().split()
    path.write_text(f"{names[0]}\n{names[0]}\n../a\n{names[1]} 1\n")
    faults = told(checked(find("voc_2012_val"), images=0))
    assert faults[2:] == ["is listed before", "2 x is not an image name"]
    path.write_text("\n")
    assert told(checked(find("voc_2012_val")))[0].endswith("val.txt: lists no image")


def test_bad_odgt(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.crowdhuman(tmp_path)
    path = tmp_path / "crowdhuman" / "annotation_val.odgt"
    lines = path.read_text().splitlines()
    broken = json.loads(lines[1])
    broken["gtboxes"][0] |= {"tag": "dog"}
    broken["gtboxes"][1] |= {"fbox": [1, 2, 3]}
    path.write_text("\n".join([lines[0], json.dumps(broken), "{", "[]", lines[0], '{"ID": "../x", "gtboxes": []}']))
    outcome = checked(find("crowdhuman_val"), images=0)
    places = {line.text: line.places for line in outcome.splits[0].lines if line.places}
    assert places == {
        "tag: is neither person nor mask": (f"{path}: line 2: gtboxes[0]",),
        "fbox: is missing or not [x, y, width, height]": (f"{path}: line 2: gtboxes[1]",),
        "is not JSON, corrupt or truncated": (f"{path}: line 3",),
        "is not a JSON object": (f"{path}: line 4",),
        "ID: is used by a line before it": (f"{path}: line 5",),
        "ID: is missing or not a file name": (f"{path}: line 6",),
    }


# ---- faults of the files


def test_missing_images_are_named(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.coco(tmp_path)
    dataset = fitted("coco", tmp_path)
    gone = tmp_path / "coco" / "val2017" / "000000000139.jpg"
    gone.unlink()
    (gone.parent / "surplus.jpg").touch()
    outcome = checked(dataset)
    (line,) = [line for line in outcome.splits[1].lines if line.level == "fault"]
    assert (line.text, line.places) == ("1 of 4 image files are missing", (str(gone),))
    assert line.todo == "put them there (from val2017.zip)"
    assert "1 files beside the images are in no annotation; they are not used" in told(outcome, "note")
    assert "3 of 3 pictures (of 4, drawn with seed 0) decode and have the annotated size" in told(outcome, "ok")


def test_of_objects365_only_what_was_never_published_may_be_missing(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.objects365(tmp_path)
    dataset = one(fitted("objects365", tmp_path), "objects365_train")
    outcome = checked(dataset)
    assert outcome.exit_code == 0
    assert "1 images are in the annotations and were never published; they are left out" in told(outcome, "note")
    next((tmp_path / "objects365" / "train" / "patch0").iterdir()).unlink()
    assert told(checked(dataset)) == ["1 of 4 image files are missing"]


def test_missing_directories_and_files(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.voc(tmp_path, "2007", images=1)
    (tmp_path / "VOC2007" / "ImageSets" / "Main" / "test.txt").unlink()
    outcome = checked(find("voc_2007_test"))
    (line,) = outcome.splits[0].lines
    assert line.places == (str(tmp_path / "VOC2007/ImageSets/Main/test.txt"),)
    assert line.todo == "put it there (from VOCtest_06-Nov-2007.tar)"


def test_a_set_that_is_not_there_is_bad_use(tmp_path: Path, checked: Check) -> None:
    with pytest.raises(DataSetError) as caught:
        checked(DATASETS["crowdhuman"])
    assert str(caught.value) == (
        f"CrowdHuman is not there: {tmp_path}/crowdhuman/annotation_train.odgt and all else of it is missing;"
        " `c2o data plan crowdhuman` says what to get and where to put it, or set DETECTRON2_DATASETS to where it is"
    )


# ---- pictures


def test_damaged_pictures(tmp_path: Path, checked: Check) -> None:
    fabricated_sets.coco(tmp_path, images=6)
    dataset = one(fitted("coco", tmp_path), "coco_2017_val")
    paths = sorted((tmp_path / "coco" / "val2017").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:-200])
    paths[1].write_bytes(b"no picture")
    paths[2].write_bytes(b"")
    with Image.open(paths[3]) as image:
        size = image.size
        image.resize((size[0] + 1, size[1])).save(paths[3])
    outcome = checked(dataset, images=None)
    found = {line.text: line.places for line in outcome.splits[0].lines if line.level == "fault"}
    wrong = "has another size (height x width) than its annotation says"
    assert set(found) == {"cannot be decoded", "2 x is no picture", wrong}
    assert found["cannot be decoded"][0].startswith(f"{paths[0]}: ") and "truncated" in found["cannot be decoded"][0]
    assert found["2 x is no picture"] == (str(paths[1]), str(paths[2]))
    assert found[wrong] == (f"{paths[3]}: {size[1]} x {size[0] + 1} px, annotated {size[1]} x {size[0]}",)
    assert "2 of 6 pictures decode and have the annotated size" in told(outcome, "ok")


def test_a_turned_picture_has_its_shown_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    assert pictures.picture_fault(pictures.Picture(path, 30, 20)) is None
    assert pictures.picture_fault(pictures.Picture(path, 20, 30)) is not None


def test_a_picture_of_too_many_px_or_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "a.png"
    Image.new("L", (40, 50)).save(path)
    monkeypatch.setattr(pictures, "MAX_SET_PIXELS", 1999)
    assert pictures.picture_fault(pictures.Picture(path, 50, 40)) == (
        "has more px than the limit of 1999 (c2o_evidence/limits.py)",
        str(path),
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    fault = pictures.picture_fault(pictures.Picture(tmp_path / "pipe.jpg", 1, 1))
    assert fault is not None and fault[0] == "cannot be decoded" and "is not a plain file" in fault[1]


def test_the_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    fabricated_sets.coco(tmp_path, images=9)
    contents = read_coco(tmp_path / VAL, "coco")

    def names(most: int | None, seed: int) -> list[str]:
        return [picture.path.name for picture in pictures.drawn(contents, tmp_path, most, seed, frozenset())]

    assert names(4, 0) == names(4, 0) and len(set(names(4, 0))) == 4
    assert len({tuple(names(4, seed)) for seed in range(8)}) > 1
    assert names(None, 0) == sorted(contents.names) and len(names(100, 0)) == 9 and names(0, 0) == []


def test_a_stopped_check_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: Check) -> None:
    fabricated_sets.coco(tmp_path, images=6)
    dataset = one(fitted("coco", tmp_path), "coco_2017_val")
    look, seen = pictures.picture_fault, []

    def stop(picture: pictures.Picture) -> tuple[str, str] | None:
        seen.append(picture.path.name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return look(picture)

    monkeypatch.setattr(pictures, "BATCH", 1)
    monkeypatch.setattr(pictures, "picture_fault", stop)
    outcome = checked(dataset, images=None, jobs=1)
    assert outcome.stopped and "stopped after 3 of 6 pictures" in told(outcome, "note")
    assert "-> `c2o data check coco_2017_val --all --start 3` goes on there" in outcome.text()
    assert outcome.text().endswith("coco: stopped before the end, so far: holds")
    seen.append("nothing stops it again")
    rest = checked(dataset, images=None, start=3, jobs=1)
    assert seen[-3:] == sorted(path.name for path in (tmp_path / "coco" / "val2017").iterdir())[3:]
    assert "3 of 3 pictures decode and have the annotated size" in told(rest, "ok")
    with pytest.raises(DataSetError, match="coco_2017_val: --start 7: there are only 6 pictures to look at"):
        checked(dataset, images=None, start=7)
