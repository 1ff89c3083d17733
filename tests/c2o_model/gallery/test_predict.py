"""Pictures of one's own: detections are those of the sampler, boxes in the picture's pixels; drawn where they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2o_model.config import dump_resolved
from c2o_model.evaluation.run import EvalRow, evaluate
from c2o_model.gallery.draw import COLOURS, Drawn, draw
from c2o_model.predict import Task, run

NUMBER = 4  # of the split: image id 47


@pytest.fixture
def task(place: Any, tmp_path: Path) -> Task:
    """The picture number 4 as a file of one's own, drawn to out.png."""
    picture = {
        "path": str(place.split.image_path(NUMBER)),
        "image_id": 47,
        "known": True,
        "output": str(tmp_path / "out.png"),
    }
    return Task(str(place.checkpoint), str(place.config), 3, 9, {}, [picture], ["red", "green", "blue"], [1, 3, 5], 0.0,
                str(tmp_path / "out.json"))  # fmt: skip


def with_picture(task: Task, image: Image.Image, name: str, **save: Any) -> Task:
    path = Path(task.results or "").with_name(name)
    image.save(path, **save)
    return replace(task, pictures=[{**task.pictures[0], "path": str(path)}])


def results(task: Task) -> list[dict[str, Any]]:
    lines = list(run(task))
    assert "error" not in lines[1], lines
    return json.loads(Path(task.results or "").read_text())


def boxes(found: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[*r["bbox"], r["score"], r["category_id"]] for r in found])


@pytest.mark.parametrize("values", [{}, {"INPUT.MIN_SIZE_TRAIN": (96,), "INPUT.MIN_SIZE_TEST": 96}])
def test_results_are_those_of_the_evaluation(
    task: Task, place: Any, make_config: Any, tmp_path: Path, values: Any
) -> None:
    """The picture evaluated alone with the seed, as COCO results written out by hand; also where it is resized."""
    cfg = make_config(values, QUALITY_HEAD=True, QUALITY_SCORE_REWEIGHT=True)
    (tmp_path / "config.yaml").write_text(dump_resolved(cfg))
    found = results(replace(task, config=str(tmp_path / "config.yaml")))
    (expected,) = evaluate(cfg, place.checkpoint, place.split.select([NUMBER]), [EvalRow("x", 3)], [9])
    assert len(found) == len(expected.score) > 5
    for one, box, score, label in zip(found, expected.box.tolist(), expected.score, expected.label, strict=True):
        x, y, w, h = one["bbox"]
        assert (x, y, x + w, y + h) == pytest.approx(box, abs=1e-4) and max(x + w, y + h) <= 64.0001
        assert np.float32(one["score"]) == score and one["category_id"] == (1, 3, 5)[label]
        assert (one["image_id"], one["file_name"]) == (47, "004.png")


def test_neighbours_and_names_change_nothing_seed_and_key_do(task: Task, place: Any) -> None:
    alone = boxes(results(task))
    other = {**task.pictures[0], "path": str(place.split.image_path(0)), "image_id": 7}
    both = results(replace(task, pictures=[other, *task.pictures]))
    assert np.array_equal(boxes([one for one in both if one["image_id"] == 47]), alone)
    assert not np.array_equal(boxes(results(replace(task, seed=10)))[:5], alone[:5])
    assert not np.array_equal(
        boxes(results(replace(task, pictures=[{**task.pictures[0], "image_id": 48}])))[:5], alone[:5]
    )


def test_pictures_of_every_kind_are_read_as_their_eyes_would_see_them(task: Task) -> None:
    with Image.open(task.pictures[0]["path"]) as image:
        colours = image.convert("RGB")
    grey, expected = colours.convert("L"), boxes(results(task))
    plain = boxes(results(with_picture(task, grey.convert("RGB"), "plain.png")))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for name, image in (("grey.png", grey), ("deep.png", deep), ("grey.bmp", grey)):
        assert np.array_equal(boxes(results(with_picture(task, image, name))), plain), name
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    lying = colours.transpose(Image.Transpose.ROTATE_90)
    clear = colours.copy()
    clear.putalpha(128)
    for name, image, how in (
        ("lying.png", lying, {"exif": exif}),
        ("clear.png", clear, {}),
        ("x.webp", colours, {"lossless": True}),
    ):
        assert np.array_equal(boxes(results(with_picture(task, image, name, **how))), expected), name


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (640, 33), (1700, 40)])
def test_any_size_is_taken_and_boxes_are_in_pixels_of_the_file(task: Task, size: tuple[int, int]) -> None:
    wide = with_picture(task, Image.effect_noise(size, 60), "noise.png")
    found = results(replace(wide, pictures=[{**wide.pictures[0], "known": False}]))
    far = boxes(found)
    assert len(found) > 0 and (far[:, 0] + far[:, 2]).max() <= size[0] + 1e-3
    assert (far[:, 1] + far[:, 3]).max() <= size[1] + 1e-3 and (far[:, 0] + far[:, 2]).max() > 0.3 * size[0]


def test_what_is_no_picture_is_told_and_the_others_are_done(task: Task, tmp_path: Path) -> None:
    whole = Path(task.pictures[0]["path"]).read_bytes()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    names = ("text.png", "cut.png", "empty.jpg", "gone.png")
    bad = [{**task.pictures[0], "path": str(tmp_path / name)} for name in names]
    loaded, *lines = run(replace(task, pictures=[*bad, *task.pictures]))
    assert loaded["steps"] == 3
    assert [line["error"].removeprefix(str(tmp_path)) for line in lines[:4]] == [
        "/text.png: is not a picture that Pillow can read; give a JPEG or PNG",
        "/cut.png: cannot be decoded (image file is truncated); copy it again from its source",
        "/empty.jpg: is not a picture that Pillow can read; give a JPEG or PNG",
        "/gone.png: is missing; correct the path",
    ]
    assert lines[4]["found"] == lines[4]["shown"] == len(json.loads((tmp_path / "out.json").read_text())) > 0


def test_the_animation_has_a_frame_a_step_and_ends_as_the_prediction(task: Task, tmp_path: Path) -> None:
    """64 px are enlarged 7 times, to 448; the caption is below."""
    gif = replace(
        task, results=None, steps=5, pictures=[{**task.pictures[0], "output": str(tmp_path / "w.gif")}], score=0.2
    )
    _, line = run(gif)
    (_, told) = run(replace(task, steps=5, score=0.2))
    assert (line["shown"], line["found"], line["best"]) == (told["shown"], told["found"], told["best"])
    with Image.open(tmp_path / "w.gif") as image, Image.open(tmp_path / "out.png") as drawn:
        assert image.n_frames == 5 and image.info["loop"] == 0
        sizes, times, frames = set(), [], []
        for number in range(5):
            image.seek(number)
            sizes.add(image.size)
            times.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGB")).astype(int))
        assert drawn.size == (448, 448) and {width for width, _ in sizes} == {448} and len(sizes) == 1
        assert next(iter(sizes))[1] > 448 and times == [300] * 4 + [2000]
        assert all((a != b).any() for a, b in zip(frames, frames[1:], strict=False))
        coloured = np.asarray(drawn).astype(int)
        close = np.abs(frames[-1][:448] - coloured).max(-1) < 40
        assert close.mean() > 0.7, "the last frame but for grey boxes and its palette"


def colour_of(label: int) -> tuple[int, ...]:
    return tuple(int(COLOURS[label][i : i + 2], 16) for i in (1, 3, 5))


def test_boxes_are_drawn_on_their_outermost_pixels() -> None:
    """A large picture is not enlarged: the box (100, 200, 300, 400) begins with pixel 100 and ends with pixel 299."""
    picture = draw(Image.new("RGB", (600, 500), "black"), [Drawn((100, 200, 300.4, 400), "a 0.90", 1)])
    assert picture.size == (600, 500)
    for x, y in ((100, 300), (299, 300), (101, 300), (200, 399), (299, 399), (250, 200)):
        assert picture.getpixel((x, y)) == colour_of(1), (x, y)
    for x, y in ((99, 300), (300, 300), (104, 300), (200, 400), (200, 300)):
        assert picture.getpixel((x, y)) == (0, 0, 0), (x, y)


def test_small_pictures_are_enlarged_with_their_boxes_and_the_best_is_on_top() -> None:
    found = [Drawn((2, 10, 22, 30), "b", 2), Drawn((2, 10, 12, 30), "a", 0)]
    picture = draw(Image.new("RGB", (40, 32), "black"), found, noisy=[(0, 0, 40, 32), (-50, -50, 900, 900)])
    assert picture.size == (480, 384)
    assert picture.getpixel((24, 300)) == colour_of(0) and picture.getpixel((22 * 12 - 1, 300)) == colour_of(2)
    assert picture.getpixel((0, 200)) == picture.getpixel((479, 200)) == (0x9A, 0x9A, 0x9A)
