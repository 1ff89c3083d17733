"""What `c2o data plan` reckons with: how fast annotations are read, converted and copied, and what memory that takes.

    python -m benchmarks.data_sets [--boxes 60000] [--repeats 5]

Annotation files are fabricated with the bytes, boxes an image and outlines of the real ones' averages; the pictures are
one JPEG of 640 x 480 px under many names. Each measurement runs in a process of its own, which also gives the memory.
Reported: medians and range of CPU time (the machine may be shared), for the table in c2o_evidence/datasets/cost.py.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from c2o_evidence.datasets.coco_file import read_coco
from c2o_evidence.datasets.odgt_file import read_odgt
from c2o_evidence.datasets.pictures import Picture, picture_fault
from c2o_evidence.datasets.voc_files import names_in, read_voc
from c2o_model.data.coco import load_split
from c2o_model.data.coco_copy import _copy_split
from c2o_model.data.public_sets import load_public

HEIGHT, WIDTH = 480, 640
# Boxes an image and bytes a box of the real files, as far as they are public.
SHAPE = {"coco": (7.3, 546), "lvis": (12.7, 864), "objects365": (14.6, 217), "crowdhuman": (29.3, 182), "voc": (2.7, 0)}
PICTURES = 200


def jpeg(path: Path) -> Path:
    """A picture with edges and some noise; about 90 kB, as photographs of this size have."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.uint8)
    pixels = np.kron(coarse, np.ones((16, 16, 1), np.uint8)).astype(np.int16) + draw.integers(
        -12, 12, (HEIGHT, WIDTH, 1)
    )
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return path


def fabricate(root: Path, kind: str, boxes: int) -> int:
    """A split `train` of a set with about `boxes` boxes; returns the number of images."""
    an_image, size = SHAPE[kind]
    images = max(1, round(boxes / an_image))
    draw = random.Random(0)
    places = {
        "coco": ("coco/train2017/{:012d}.jpg", "coco/annotations/instances_train2017.json"),
        "lvis": ("coco/train2017/{:012d}.jpg", "lvis/lvis_v1_train.json"),
        "objects365": ("objects365/train/patch0/{}.jpg", "objects365/annotations/zhiyuan_objv2_train.json"),
        "crowdhuman": ("crowdhuman/Images/{}.jpg", "crowdhuman/annotation_train.odgt"),
        "voc": ("VOC2007/JPEGImages/{:06d}.jpg", "VOC2007/ImageSets/Main/train.txt"),
    }[kind]
    picture = jpeg(root / "picture.jpg")
    names = [places[0].format(number) for number in range(1, images + 1)]
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.link(picture, root / name)
    sides = [
        (draw.randint(0, 500), draw.randint(0, 400), draw.randint(5, 140), draw.randint(5, 80)) for _ in range(boxes)
    ]
    annotation = root / places[1]
    annotation.parent.mkdir(parents=True, exist_ok=True)
    if kind == "voc":
        _write_voc(root / "VOC2007", annotation, names, sides)
    elif kind == "crowdhuman":
        lines = []
        for number, name in enumerate(names):
            people = [
                {"tag": "person", "fbox": s, "vbox": s, "hbox": s, "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
                 "extra": {"box_id": k, "occ": 0}}
                for k, s in enumerate(sides[number::images])
            ]  # fmt: skip
            lines.append(json.dumps({"ID": Path(name).stem, "gtboxes": people}))
        annotation.write_text("\n".join(lines))
    else:
        annotation.write_text(json.dumps(_coco(kind, names, sides, size)))
    return images


def _coco(kind: str, names: list[str], sides: list[tuple[int, ...]], size: int) -> dict[str, Any]:
    outline = [123.45] * max(0, (size - 180) // 8)
    records = []
    for number, name in enumerate(names, start=1):
        record: dict[str, Any] = {"id": number, "height": HEIGHT, "width": WIDTH, "license": 1}
        url = "http://images.cocodataset.org/" + "/".join(name.split("/")[-2:])
        records.append(record | ({"coco_url": url} if kind == "lvis" else {"file_name": _file_name(kind, name)}))
    found = [
        {"id": number, "image_id": number % len(names) + 1, "category_id": number % 80 + 1, "bbox": s, "area": 100.5,
         "iscrowd": 0, **({"segmentation": [outline]} if outline else {})}
        for number, s in enumerate(sides)
    ]  # fmt: skip
    categories = [{"id": key, "name": f"thing {key}"} for key in range(1, 81)]
    return {"images": records, "annotations": found, "categories": categories}


def _file_name(kind: str, name: str) -> str:
    return f"images/v1/{'/'.join(name.split('/')[-2:])}" if kind == "objects365" else Path(name).name


def _write_voc(top: Path, annotation: Path, names: list[str], sides: list[tuple[int, ...]]) -> None:
    (top / "Annotations").mkdir()
    for number, name in enumerate(names):
        body = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        for x, y, w, h in sides[number :: len(names)]:
            corners = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
            body += f"<object><name>dog</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
        (top / "Annotations" / f"{Path(name).stem}.xml").write_text(f"<annotation>{body}</annotation>")
    annotation.write_text("".join(f"{Path(name).stem}\n" for name in names))


def check(root: Path, kind: str) -> None:
    """What `c2o data check` does with the annotations."""
    if kind == "voc":
        read_voc(root / "VOC2007/ImageSets/Main/train.txt", names_in(root / "VOC2007/JPEGImages"))
    elif kind == "crowdhuman":
        read_odgt(root / "crowdhuman/annotation_train.odgt")
    else:
        path = {
            "coco": "coco/annotations/instances_train2017.json",
            "lvis": "lvis/lvis_v1_train.json",
            "objects365": "objects365/annotations/zhiyuan_objv2_train.json",
        }[kind]
        read_coco(root / path, kind)  # type: ignore[arg-type]


def load(root: Path, kind: str) -> None:
    """What training does with them: convert to COCO, write, read back."""
    if kind == "coco":
        load_split(root / "coco/annotations/instances_train2017.json", root / "coco/train2017")
        return
    name = {
        "lvis": "lvis_v1_train",
        "objects365": "objects365_train",
        "crowdhuman": "crowdhuman_train",
        "voc": "voc_2007_train",
    }
    load_public(name[kind], root, root / "converted")


def pictures(root: Path, kind: str) -> None:
    """Decode PICTURES pictures, as the check of one does."""
    for _ in range(PICTURES):
        assert picture_fault(Picture(root / "picture.jpg", HEIGHT, WIDTH)) is None


def copy(root: Path, kind: str) -> None:
    """What the copy of `kind: named` does with each picture: decode and copy."""
    records = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(PICTURES)]
    (root / "source").mkdir(exist_ok=True)
    for record in records:
        if not (root / "source" / record["file_name"]).exists():  # type: ignore[operator]
            os.link(root / "picture.jpg", root / "source" / record["file_name"])  # type: ignore[operator]
    document = {"images": records, "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (root / "source.json").write_text(json.dumps(document))
    _copy_split(root / "source.json", root / "source", root / "copy", "train", None)


def timed(work: Callable[[Path, str], None], root: Path, kind: str) -> tuple[float, float]:
    """Seconds of CPU time, and by how many MB the process's memory grew at most."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    start = time.process_time()
    work(root, kind)
    seconds = time.process_time() - start
    return seconds, (_status("VmHWM") - before) / 1e3


def _status(key: str) -> float:
    """A line of /proc/self/status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


def measure(work: Callable[[Path, str], None], root: Path, kind: str, repeats: int) -> tuple[list[float], float]:
    """Seconds of each repeat, and the largest growth in MB. Every repeat has a process of its own."""
    seconds, memory = [], 0.0
    spawn = multiprocessing.get_context("spawn")
    for _ in range(repeats):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            took, grew = pool.submit(timed, work, root, kind).result()
        seconds.append(took)
        memory = max(memory, grew)
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--boxes", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for kind in SHAPE:
        with tempfile.TemporaryDirectory(prefix="c2o-benchmark-") as folder:
            root = Path(folder)
            images = fabricate(root, kind, arguments.boxes)
            for name, work in (("check", check), ("load", load)):
                seconds, memory = measure(work, root, kind, arguments.repeats)
                middle = statistics.median(seconds)
                print(
                    f"{kind:<11} {name:<6} {1e6 * middle / arguments.boxes:7.2f} us/box"
                    f" [{1e6 * min(seconds) / arguments.boxes:.2f}, {1e6 * max(seconds) / arguments.boxes:.2f}]"
                    f" {1e6 * memory / arguments.boxes:7.0f} bytes/box  n = {len(seconds)}"
                    f" ({arguments.boxes} boxes, {images} images)",
                    flush=True,
                )
    with tempfile.TemporaryDirectory(prefix="c2o-benchmark-") as folder:
        size = jpeg(Path(folder) / "picture.jpg").stat().st_size
        for name, work in (("pictures", pictures), ("copy", copy)):
            seconds, _ = measure(work, Path(folder), "", arguments.repeats)
            low, middle, high = (1e3 * f(seconds) / PICTURES for f in (min, statistics.median, max))
            text = f"{middle:.2f} ms/image [{low:.2f}, {high:.2f}]  n = {len(seconds)}"
            print(f"{name:<18} {text} ({PICTURES} images of {WIDTH} x {HEIGHT} px, {size} bytes)", flush=True)


if __name__ == "__main__":
    main()
