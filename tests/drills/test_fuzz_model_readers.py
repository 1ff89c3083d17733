"""The readers of public data sets in c2o_model on damaged files: a document, or a DataError that names the file."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from c2o_model.data.crowdhuman import crowdhuman_document
from c2o_model.data.errors import DataError
from c2o_model.data.lvis import lvis_document
from c2o_model.data.objects365 import objects365_document
from c2o_model.data.registration import parse_extra
from c2o_model.data.repro10k import repro10k_document
from tests.drills.sandbox import TALLY
from tests.drills.test_fuzz_parsers import mutate, within

INPUTS = 250
BOX = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4.5], "area": 6, "iscrowd": 0}
IMAGE = {"id": 7, "width": 20, "height": 10, "file_name": "images/v2/patch1/a.jpg", "coco_url": "x/train2017/a.jpg"}
NAMES = [{"id": number, "name": name} for number, name in enumerate(("car", "motorcycle", "person"), start=1)]
COCO = json.dumps({"images": [IMAGE], "annotations": [BOX], "categories": NAMES}).encode()
LINE = {"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3, 4], "extra": {"ignore": 0}}]}
READERS: dict[str, tuple[bytes, Callable[[Path, Path], object]]] = {
    "lvis": (COCO, lvis_document),
    "objects365": (COCO, objects365_document),
    "repro10k": (COCO, repro10k_document),
    "crowdhuman": (json.dumps(LINE).encode() + b"\n", crowdhuman_document),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_annotations(name: str, tmp_path: Path) -> None:
    valid, read = READERS[name]
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    path = tmp_path / "annotations.json"
    path.write_bytes(valid)
    assert read(path, tmp_path)
    rng = random.Random(name)
    for number in range(INPUTS):
        path.write_bytes(mutate(valid, rng) if number % 5 else rng.randbytes(rng.randrange(200)))
        TALLY.fuzzed[name] = TALLY.fuzzed.get(name, 0) + 1
        try:
            with within(30):
                json.dumps(read(path, tmp_path), allow_nan=False)
        except DataError as error:
            assert "annotations.json" in str(error) or ".jpg" in str(error)


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 100_000, b'{"images":' + b"[" * 100_000, b"9" * 5000, b'{"images": [NaN]}', b"\xff", b"", b"null"],
)
@pytest.mark.parametrize("name", READERS)
def test_bombs(name: str, bomb: bytes, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(bomb)
    if bomb or name != "crowdhuman":  # an empty file has no line, hence no image
        with pytest.raises(DataError, match="annotations.json"):
            READERS[name][1](path, tmp_path)


@pytest.mark.parametrize(
    "sides", [[1e999, 0, 1, 1], [10**400, 0, 1, 1], [0, 0, float("nan"), 1], ["0", 0, 1, 1], [True, 0, 1, 1]]
)
@pytest.mark.parametrize("key", ["bbox", "area"])
def test_a_measure_that_is_none(key: str, sides: list, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    value = sides if key == "bbox" else next(side for side in sides if side not in (0, 1) or side is True)
    path.write_text(json.dumps({"images": [IMAGE], "annotations": [{**BOX, key: value}], "categories": NAMES}))
    with pytest.raises(DataError, match=rf"annotations\[0\]: {key}"):
        lvis_document(path, tmp_path)


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").mkdir()
    for read in (lvis_document, objects365_document, repro10k_document, crowdhuman_document):
        with pytest.raises(DataError, match=r"annotations\.json: cannot be read"):
            read(tmp_path / "annotations.json", tmp_path)


def test_names_from_the_environment() -> None:
    rng = random.Random(0)
    for _ in range(INPUTS):
        text = mutate(b"a:b.json:c;d:e:f", rng).decode("utf-8", "replace")
        try:
            assert all(item.name and item.name.strip() == item.name for item in parse_extra(text))
        except DataError as error:
            assert str(error).startswith("EXTRA_COCO_DATASETS: ")
