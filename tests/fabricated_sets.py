"""Tiny copies of the public data sets, in the layouts and formats in which their publishers give them.

Each function writes below ``root`` (what $DETECTRON2_DATASETS names) and returns it: real JPEGs of some 100 x 70 px in
which every object is a rectangle of one colour, and annotation files with the keys, the numbers of classes, the ids
with gaps, the crowds and the oddities of the real ones. Nothing in it is from the sets but names and ids of classes.
Equal arguments give equal annotation files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
    "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
    "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,"
    "skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,"
    "sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,"
    "dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CLASSES = tuple(_COCO.split(","))
# COCO numbers its 80 classes from 1 to 90, with these left out.
COCO_GAPS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
COCO_IDS = tuple(number for number in range(1, 91) if number not in COCO_GAPS)
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# The first of Objects365's 365; the rest of a fabricated copy is numbered.
OBJECTS365_CLASSES = ("Person", "Sneakers", "Chair", "Other Shoes", "Hat", "Car", "Lamp", "Glasses", "Bottle", "Desk")
REPRO10K = ("person", "car", "motorcycle")

IMAGES = 4  # of each split, unless asked for otherwise


@dataclass(frozen=True)
class Thing:
    """An object of a picture: class index from 0, and its box [x, y, width, height] in whole px."""

    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """A picture's size in px and its objects; 1 to 4 of them, inside the picture."""

    width: int
    height: int
    things: tuple[Thing, ...]


def scenes(key: str, images: int, labels: Sequence[int]) -> list[Scene]:
    """``images`` scenes with objects of the classes ``labels`` in turn, drawn from ``key``."""
    draw = np.random.default_rng(list(key.encode()))
    found, turn = [], 0
    for _ in range(images):
        width, height = int(draw.integers(96, 129)), int(draw.integers(64, 97))
        things = []
        for _ in range(int(draw.integers(1, 5))):
            w, h = int(draw.integers(12, 40)), int(draw.integers(12, 40))
            x, y = int(draw.integers(0, width - w)), int(draw.integers(0, height - h))
            things.append(Thing(labels[turn % len(labels)], (x, y, w, h)))
            turn += 1
        found.append(Scene(width, height, tuple(things)))
    return found


def paint(path: Path, scene: Scene) -> None:
    """The picture of a scene, as JPEG (or PNG, by the suffix)."""
    draw = np.random.default_rng(scene.width * scene.height)
    pixels = draw.integers(90, 130, (scene.height, scene.width, 3)).astype(np.uint8)
    for thing in scene.things:
        x, y, w, h = thing.box
        pixels[y : y + h, x : x + w] = (37 * thing.label % 256, 101 * thing.label % 256, 255 - 59 * thing.label % 256)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90) if path.suffix == ".jpg" else Image.fromarray(pixels).save(path)


def write(path: Path, content: Any) -> Path:
    """A text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def coco(root: Path, images: int = IMAGES) -> Path:
    """COCO 2017, train and val: the classes of Repro-10k in every second object, a crowd region in the last image."""
    labels = [COCO_CLASSES.index(name) for name in REPRO10K]
    mixed = [label for k in range(0, 80, 7) for label in (labels[k % 3], k)]
    for split, first in (("train", 9), ("val", 139)):
        place = root / "coco" / f"{split}2017"
        drawn = scenes(f"coco {split}", images, mixed)
        ids = [first + 16 * k for k in range(images)]
        for number, scene in zip(ids, drawn, strict=True):
            paint(place / f"{number:012d}.jpg", scene)
        boxes = _coco_boxes(drawn, ids, COCO_IDS)
        crowd = boxes[-1]
        crowd["iscrowd"] = 1
        size = [drawn[-1].height, drawn[-1].width]
        crowd["segmentation"] = {"counts": [0, 10, size[0] * size[1] - 10], "size": size}
        records = [
            {
                "license": 4,
                "file_name": f"{number:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/{split}2017/{number:012d}.jpg",
                "height": scene.height,
                "width": scene.width,
                "date_captured": "2013-11-14 17:02:52",
                "id": number,
            }
            for number, scene in zip(ids, drawn, strict=True)
        ]
        document = {
            "info": {"description": "fabricated", "year": 2017},
            "licenses": [{"id": 4, "name": "none", "url": ""}],
            "images": records,
            "annotations": boxes,
            "categories": [
                {"supercategory": "thing", "id": key, "name": name}
                for key, name in zip(COCO_IDS, COCO_CLASSES, strict=True)
            ],
        }
        write(root / "coco" / "annotations" / f"instances_{split}2017.json", document)
    return root


def repro10k(root: Path, images: int = IMAGES) -> Path:
    """What Repro-10k is drawn from: COCO."""
    return coco(root, images)


def lvis(root: Path, images: int = IMAGES) -> Path:
    """LVIS v1 on a fabricated COCO: 1203 classes, no file names; val has an image of COCO's train2017 too."""
    coco(root, images)
    for split in ("train", "val"):
        named = {}
        for folder in ("train2017", "val2017"):
            found = json.loads((root / "coco" / "annotations" / f"instances_{folder}.json").read_text("utf-8"))[
                "images"
            ]
            named[folder] = [(folder, record) for record in found]
        last = named["train2017"][-1:]
        chosen = named["train2017"][:-1] if split == "train" else named["val2017"] + last
        sizes = [Scene(r["width"], r["height"], ()) for _, r in chosen]
        drawn = [
            Scene(size.width, size.height, (Thing(7 * k % 1203, (3, 4, 20 + k, 18)), Thing(1202 - k, (40, 20, 15, 30))))
            for k, size in enumerate(sizes)
        ]
        ids = [record["id"] for _, record in chosen]
        boxes = _coco_boxes(drawn, ids, range(1, 1204))
        for box in boxes:
            del box["iscrowd"]
        records = [
            {
                "date_captured": record["date_captured"],
                "neg_category_ids": [1, 1203],
                "license": 4,
                "height": record["height"],
                "width": record["width"],
                "flickr_url": "",
                "coco_url": f"http://images.cocodataset.org/{folder}/{record['file_name']}",
                "not_exhaustive_category_ids": [],
                "id": record["id"],
            }
            for folder, record in chosen
        ]
        categories = [
            {
                "image_count": 1,
                "synonyms": [f"thing_{key}"],
                "def": "",
                "id": key,
                "synset": f"thing.n.{key}",
                "name": f"thing_{key}",
                "frequency": "rcf"[key % 3],
                "instance_count": 1,
            }
            for key in range(1, 1204)
        ]
        document = {"info": {}, "licenses": [], "images": records, "annotations": boxes, "categories": categories}
        write(root / "lvis" / f"lvis_v1_{split}.json", document)
    return root


def voc(root: Path, year: str = "2007", images: int = IMAGES) -> Path:
    """VOC 2007 or 2012: lists train, val, trainval (2007: test), a class's list of two columns, a difficult object."""
    top = root / f"VOC{year}"
    lists: dict[str, list[str]] = {}
    for split in ("train", "val", *(("test",) if year == "2007" else ())):
        lists[split] = []
        for number, scene in enumerate(scenes(f"voc {year} {split}", images, range(20))):
            index = {"train": 12, "val": 5, "test": 1}[split] + 20 * number
            name = f"{index:06d}" if year == "2007" else f"2008_{index:06d}"
            lists[split].append(name)
            paint(top / "JPEGImages" / f"{name}.jpg", scene)
            write(top / "Annotations" / f"{name}.xml", _voc_xml(f"VOC{year}", name, scene, difficult=number == 0))
    lists["trainval"] = sorted(lists["train"] + lists["val"])
    for split, names in lists.items():
        write(top / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in names))
        write(top / "ImageSets" / "Main" / f"cat_{split}.txt", "".join(f"{name} -1\n" for name in names))
    return root


def crowdhuman(root: Path, images: int = IMAGES) -> Path:
    """CrowdHuman: one directory of images, an .odgt a split; a person that leaves its image, a mask, an ignored box."""
    for split in ("train", "val"):
        lines = []
        for number, scene in enumerate(scenes(f"crowdhuman {split}", images, (0,))):
            name = f"{273271 + number},{sum(split.encode()):04x}{number:012x}"
            paint(root / "crowdhuman" / "Images" / f"{name}.jpg", scene)
            boxes = [_person(thing.box, "person", box_id=k, occ=0) for k, thing in enumerate(scene.things)]
            boxes.append(_person((-5, 10, 30, scene.height), "person", box_id=len(boxes), occ=1))
            boxes.append(_person((scene.width - 20, 5, 15, 15), "mask", ignore=1))
            boxes.append(_person((2, 2, 9, 9), "person", box_id=len(boxes), occ=0, ignore=1))
            lines.append(json.dumps({"ID": name, "gtboxes": boxes}))
        write(root / "crowdhuman" / f"annotation_{split}.odgt", "".join(f"{line}\n" for line in lines))
    return root


def objects365(root: Path, images: int = IMAGES) -> Path:
    """Objects365 v2: 365 classes, patches; train's JSON names one of the images that were never published."""
    names = [*OBJECTS365_CLASSES, *(f"Thing {key}" for key in range(len(OBJECTS365_CLASSES) + 1, 366))]
    for split, patches in (("train", (0, 16)), ("val", (0, 17))):
        drawn = scenes(f"objects365 {split}", images, [0, 5, *range(0, 365, 31)])
        places = []
        for number, scene in enumerate(drawn):
            version = 1 if number % 2 == 0 else 2
            places.append(f"v{version}/patch{patches[version - 1]}/objects365_v{version}_{900001 + number:08d}.jpg")
            paint(root / "objects365" / split / places[-1].partition("/")[2], scene)
        if split == "train":
            drawn.append(Scene(100, 80, (Thing(0, (1, 2, 30, 40)),)))
            places.append("v2/patch16/objects365_v2_00908726.jpg")
        ids = [11 + 3 * number for number in range(len(drawn))]
        records = [
            {"height": s.height, "id": key, "license": 5, "width": s.width, "file_name": f"images/{place}", "url": ""}
            for key, s, place in zip(ids, drawn, places, strict=True)
        ]
        boxes = _coco_boxes(drawn, ids, range(1, 366))
        for box in boxes:
            del box["segmentation"]
            box |= {"isfake": 0, "isreflected": 0}
        categories = [{"name": name, "id": key} for key, name in enumerate(names, start=1)]
        document = {"images": records, "annotations": boxes, "categories": categories, "licenses": []}
        write(root / "objects365" / "annotations" / f"zhiyuan_objv2_{split}.json", document)
    return root


def extra(root: Path, images: int = IMAGES) -> str:
    """Two sets of a user's own, in COCO's format with PNGs; returns the value of EXTRA_COCO_DATASETS for them."""
    entries = []
    for split in ("train", "val"):
        drawn = scenes(f"cells {split}", images, range(3))
        for number, scene in enumerate(drawn):
            paint(root / "cells" / split / f"{number}.png", scene)
        ids = list(range(images))
        document = {
            "images": [
                {"id": key, "file_name": f"{key}.png", "height": s.height, "width": s.width}
                for key, s in zip(ids, drawn, strict=True)
            ],
            "annotations": _coco_boxes(drawn, ids, range(1, 4)),
            "categories": [{"id": key, "name": f"cell {key}"} for key in range(1, 4)],
        }
        path = write(root / "cells" / f"{split}.json", document)
        entries.append(f"cells_{split}:{path}:{root / 'cells' / split}")
    return ";".join(entries)


def _coco_boxes(drawn: Sequence[Scene], ids: Sequence[int], categories: Sequence[int]) -> list[dict[str, Any]]:
    """COCO's annotations of scenes that are the images ``ids``; class index k is ``categories[k]``."""
    found: list[dict[str, Any]] = []
    for key, scene in zip(ids, drawn, strict=True):
        for thing in scene.things:
            x, y, w, h = thing.box
            found.append(
                {
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "area": w * h,
                    "iscrowd": 0,
                    "image_id": key,
                    "bbox": [x, y, w, h],
                    "category_id": categories[thing.label],
                    "id": 500 + len(found),
                }
            )
    return found


def _voc_xml(folder: str, name: str, scene: Scene, difficult: bool) -> str:
    """An annotation of VOC: px counted from 1, both ends included."""
    size = f"<size><width>{scene.width}</width><height>{scene.height}</height><depth>3</depth></size>"
    objects = ""
    for number, thing in enumerate(scene.things):
        x, y, w, h = thing.box
        corners = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
        objects += (
            f"<object><name>{VOC_CLASSES[thing.label]}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>{int(difficult and number == 0)}</difficult><bndbox>{corners}</bndbox></object>\n"
        )
    head = f"<folder>{folder}</folder><filename>{name}.jpg</filename><source><database>none</database></source>"
    return f"<annotation>\n{head}\n{size}<segmented>0</segmented>\n{objects}</annotation>\n"


def _person(box: Sequence[int], tag: str, **extra: int) -> dict[str, Any]:
    x, y, w, h = box
    sides = {"fbox": [x, y, w, h], "vbox": [x, y, w, h // 2 + 1], "hbox": [x, y, w // 2 + 1, h // 4 + 1]}
    return {"tag": tag, **sides, "head_attr": {"ignore": 0, "occ": 0, "unsure": 0}, "extra": extra}
