"""A user's COCO set in the evidence chain: copied, checked, digested; faults named, originals untouched."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from c2o_model.data.coco import load_manifest_split
from c2o_model.data.coco_copy import import_coco
from c2o_model.data.errors import DataError


def make_source(root: Path) -> dict:
    """Two splits of one 20 x 10 px image with one box each, without the optional keys area and iscrowd."""
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        Image.fromarray(np.full((10, 20, 3), 7, np.uint8)).save(root / split / "a.png")
        document = {
            "images": [{"id": 5, "file_name": "a.png", "width": 20, "height": 10}],
            "annotations": [{"id": 1, "image_id": 5, "category_id": 3, "bbox": [2, 3, 4, 5]}],
            "categories": [{"id": 3, "name": "cell"}],
        }
        (root / f"{split}.json").write_text(json.dumps(document))
    splits = {s: {"json": str(root / f"{s}.json"), "images": str(root / s)} for s in ("train", "val")}
    return {"name": "mine", "kind": "coco", "splits": splits}


def test_copy_loads_and_every_file_has_its_digest(tmp_path: Path) -> None:
    config = make_source(tmp_path / "source")
    manifest = import_coco(config, tmp_path / "data" / "mine", tmp_path)
    split = load_manifest_split(tmp_path / "data" / "mine", "val")
    assert split.boxes[0].tolist() == [[2, 3, 6, 8]] and split.class_names == ("cell",)
    original = (tmp_path / "source" / "val" / "a.png").read_bytes()
    assert manifest.files["images/val/a.png"].sha256 == hashlib.sha256(original).hexdigest()
    annotation = json.loads((tmp_path / "data" / "mine" / "val.json").read_text())["annotations"][0]
    assert annotation["area"] == 20 and annotation["iscrowd"] == 0


def test_an_empty_directory_made_for_the_copy_is_used_and_a_full_one_refused(tmp_path: Path) -> None:
    config = make_source(tmp_path / "source")
    out = tmp_path / "data" / "mine"
    out.mkdir(parents=True)
    import_coco(config, out, tmp_path)
    load_manifest_split(out, "val")
    other = tmp_path / "data" / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds another or a damaged set; move it away"):
        import_coco(config, other, tmp_path)
    assert (other / "notes.txt").read_text() == "mine"


def test_second_import_keeps_a_complete_copy(tmp_path: Path) -> None:
    config = make_source(tmp_path / "source")
    out = tmp_path / "data" / "mine"
    import_coco(config, out, tmp_path)
    before = (out / "manifest.json").stat().st_mtime_ns
    import_coco(config, out, tmp_path)
    assert (out / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "val" / "a.png").write_bytes(b"no image"), "cannot be decoded"),
        (lambda s: (s / "val" / "a.png").unlink(), "is missing"),
        (lambda s: (s / "val.json").write_text('{"images": ['), "is not JSON"),
        (lambda s: Image.new("RGB", (9, 9)).save(s / "val" / "a.png"), "9 x 9 px high x wide"),
    ],
)
def test_damage_is_named_and_nothing_is_left_behind(tmp_path: Path, damage, message: str) -> None:
    config = make_source(tmp_path / "source")
    damage(tmp_path / "source")
    with pytest.raises(DataError, match=message):
        import_coco(config, tmp_path / "data" / "mine", tmp_path)
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [".mine.lock"]


def test_other_digest_than_configured_is_refused(tmp_path: Path) -> None:
    config = {**make_source(tmp_path / "source"), "sha256": "0" * 64}
    with pytest.raises(DataError, match=r"sha256: expected 0{64} but the set has [0-9a-f]{64}"):
        import_coco(config, tmp_path / "data" / "mine", tmp_path)
    assert not (tmp_path / "data" / "mine").exists()
