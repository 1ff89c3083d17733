"""The gallery of a tiny set: which pictures, and that the denoising ends in what evaluation stores, bit by bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from c2o_evidence.gallery import read_gallery, read_picture, shown_size
from c2o_model.config import ConfigError
from c2o_model.data.coco import load_split
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.gallery.build import GalleryRow, build_gallery, evenly_spaced, shortest
from c2o_model.gallery.pictures import LONGEST, png_of
from c2o_model.gallery.pictures import shown_size as model_shown_size

ROWS = (EvalRow("teacher", 4), EvalRow("student", 1, (("MODEL.DiffusionDet.USE_ENSEMBLE", False),)))
SEEDS = (5, 6)


@pytest.fixture(scope="module")
def built(place: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("built")
    rows = [GalleryRow(row, {}, place.checkpoint) for row in ROWS]
    from c2o_model.gallery import build

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "config_from_dict", lambda values: place.cfg)
        build_gallery(rows, place.data, 3, 0, SEEDS, out / "gallery")
    return out, read_gallery(out)


def test_pictures_are_evenly_spaced_and_the_files_of_the_data_set(built: Any, place: Any) -> None:
    """12 images, ids 7, 17, …, 117: the middle ones of three thirds have the numbers 2, 6 and 10."""
    out, document = built
    assert [picture["image_id"] for picture in document["images"]] == [27, 67, 107]
    for picture, name in zip(document["images"], ("002.png", "006.png", "010.png"), strict=True):
        content = (place.data / name).read_bytes()
        assert read_picture(out / "gallery" / picture["file"], 64, 64) == content
        assert picture["source"] == name
        assert picture["sha256"] == picture["source_sha256"] == hashlib.sha256(content).hexdigest()
    objects = [len(place.split.boxes[n]) for n in (2, 6, 10)]
    expected = document["images"][int(np.argmax(objects))]["image_id"]
    assert document["filmstrip"]["image_id"] == document["attention"]["image_id"] == expected


def test_the_denoising_ends_in_what_evaluation_stores(built: Any, place: Any) -> None:
    """Bit by bit: the same batch, all eval seeds at once, the first of them."""
    document = built[1]
    run, _ = evaluate(place.cfg, place.checkpoint, place.split, ROWS[:1], SEEDS)
    mine = run.image_id == document["filmstrip"]["image_id"]
    assert mine.sum() > 5
    steps = document["filmstrip"]["steps"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    last = steps[-1]
    assert np.array_equal(np.array(last["boxes"], np.float32), run.box[mine])
    assert np.array_equal(np.array(last["scores"], np.float32), run.score[mine])
    assert last["classes"] == run.label[mine].tolist()
    assert steps[0]["boxes"] != last["boxes"]


def test_the_nodes_of_the_attention_carry_stored_detections(built: Any, place: Any) -> None:
    attention = built[1]["attention"]
    run, _ = evaluate(place.cfg, place.checkpoint, place.split, ROWS[1:], SEEDS)
    mine = run.image_id == attention["image_id"]
    stored = {(*box, score) for box, score in zip(run.box[mine].tolist(), run.score[mine].tolist(), strict=True)}
    nodes = np.column_stack([attention["nodes"], attention["scores"]]).astype(np.float32).tolist()
    assert len(nodes) > 1 and {tuple(node) for node in nodes} <= stored
    assert (attention["exp_id"], attention["stage"]) == ("student", 2)
    weights = [weight for _, _, weight in attention["edges"]]
    assert weights == sorted(weights, reverse=True) and 0 < weights[0] <= 1


def test_places_are_in_the_middle_of_equal_shares() -> None:
    assert evenly_spaced(6, 24) == [2, 6, 10, 14, 18, 22]
    assert evenly_spaced(3, 3) == [0, 1, 2] and evenly_spaced(1, 5) == [2] and evenly_spaced(2, 5) == [1, 3]
    with pytest.raises(ConfigError, match="gallery.images: 4 is more than the 3 images of val; ask for 3 or fewer"):
        evenly_spaced(4, 3)


def test_numbers_come_back_bit_by_bit() -> None:
    values = np.random.default_rng(1).normal(0, 100, 1000).astype(np.float32)
    written = json.loads(json.dumps([shortest(value) for value in values]))
    assert np.array_equal(np.array(written, np.float32), values) and max(len(str(value)) for value in written) < 16


@pytest.mark.parametrize(("width", "height"), [(64, 64), (1024, 3), (1025, 600), (600, 4096), (99999, 1)])
def test_sizes_are_those_that_the_reader_asks_for(width: int, height: int) -> None:
    assert model_shown_size(width, height) == shown_size(width, height)


@pytest.mark.parametrize("more", ["a text", "a profile", "something behind the end", "nothing"])
def test_a_png_with_more_than_pixels_is_written_anew(tmp_path: Path, more: str) -> None:
    info = PngInfo()
    info.add_text("Software", "a camera")
    how = {"a text": {"pnginfo": info}, "a profile": {"icc_profile": b"profile"}}.get(more, {})
    noise = Image.effect_noise((30, 20), 40).convert("RGB")
    noise.save(tmp_path / "a.png", **how)
    original = (tmp_path / "a.png").read_bytes() + (b"<script>" if "behind" in more else b"")
    (tmp_path / "a.png").write_bytes(original)
    document = {"images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}], "annotations": [],
                "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(document))
    (tmp_path / "0.png").write_bytes(png_of(load_split(tmp_path / "val.json", tmp_path), 0))
    assert (read_picture(tmp_path / "0.png", 30, 20) == original) == (more == "nothing")
    with Image.open(tmp_path / "0.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(noise))


def test_photographs_become_plain_pngs_that_are_not_too_large(tmp_path: Path) -> None:
    """A large JPEG, lying on its side, with 2048 x 1024 px once it is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((1024, 2048), 40).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    document = {"images": [{"id": 1, "file_name": "a.jpg", "width": 2048, "height": 1024}], "annotations": [],
                "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(document))
    (tmp_path / "0.png").write_bytes(png_of(load_split(tmp_path / "val.json", tmp_path), 0))
    read_picture(tmp_path / "0.png", 2048, 1024)
    with Image.open(tmp_path / "0.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (LONGEST, LONGEST // 2))
