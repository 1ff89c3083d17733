"""What scenes promise: tight boxes, bounded occlusion, plates that count, independence of order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2o_model.data.backdrop import backdrop
from c2o_model.data.digits_config import SPLITS, DigitsConfig
from c2o_model.data.draw import Draw
from c2o_model.data.glyphs import Glyphs
from c2o_model.data.scene import INK, Scene, make_scene, render

COUNT = 60


@pytest.fixture(scope="module")
def scenes(glyphs: Glyphs, mini_config: DigitsConfig) -> list[Scene]:
    return [make_scene(glyphs, mini_config, "train", index) for index in range(COUNT)]


def test_images_and_counts(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (128, 128, 3) and scene.image.dtype == np.uint8
        assert 1 <= len(scene.digits) <= 8
        assert all(0 <= digit.label <= 9 for digit in scene.digits)


def test_boxes_are_tight_around_the_alpha_mask_and_inside(scenes: list[Scene]) -> None:
    for digit in (digit for scene in scenes for digit in scene.digits):
        x, y, width, height = digit.box
        assert x >= 0 and y >= 0 and x + width <= 128 and y + height <= 128
        canvas = np.zeros((128, 128), np.uint8)
        canvas[y : y + height, x : x + width] = digit.alpha
        inked = [(i, j) for i in range(128) for j in range(128) if canvas[i, j] >= INK]
        rows, columns = [i for i, _ in inked], [j for _, j in inked]
        assert (min(columns), min(rows)) == (x, y)
        assert (max(columns) + 1 - x, max(rows) + 1 - y) == (width, height)


def test_box_is_where_the_pixels_changed(glyphs: Glyphs, mini_config: DigitsConfig) -> None:
    """One digit on a known background without noise: the changed pixels span exactly its box."""
    plain = replace(mini_config, objects=(1, 1), plates=0, noise=(0, 0), blur=(0, 0))
    for index in range(30):
        scene = make_scene(glyphs, plain, "val", index)
        bare = backdrop(Draw("digits/paint", plain.seed, "val", index), 128, plain.clutter)
        rows, columns = np.nonzero((scene.image != bare).any(2))
        (digit,) = scene.digits
        spanned = columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
        assert spanned == digit.box


def test_sizes(glyphs: Glyphs) -> None:
    for size in (14, 23, 40, 56):
        for degrees in (-20, 0, 13):
            sides = [max(render(glyphs, index, size, degrees).shape) for index in range(0, 5000, 250)]
            assert all(abs(side - size) <= 2 for side in sides)


def test_occlusion_and_overlap_are_bounded(scenes: list[Scene], mini_config: DigitsConfig) -> None:
    for scene in scenes:
        owner = np.full((128, 128), -1)
        for number, digit in enumerate(scene.digits):  # painting order: later digits cover earlier ones
            x, y, width, height = digit.box
            owner[y : y + height, x : x + width][digit.alpha >= INK] = number
        for number, digit in enumerate(scene.digits):
            assert (owner == number).sum() * 100 >= (digit.alpha >= INK).sum() * (100 - mini_config.hidden)
        for a in scene.digits:
            for b in scene.digits:
                if a is b or (a.plate and b.plate):
                    continue
                filled = [np.zeros((128, 128), bool), np.zeros((128, 128), bool)]
                for mask, (x, y, width, height) in zip(filled, (a.box, b.box), strict=True):
                    mask[y : y + height, x : x + width] = True
                smaller = min(filled[0].sum(), filled[1].sum())
                assert (filled[0] & filled[1]).sum() * 100 < smaller * (mini_config.overlap + 1)


def test_plates_count_up_from_left_to_right_with_one_degraded(scenes: list[Scene]) -> None:
    plates = [[digit for digit in scene.digits if digit.plate] for scene in scenes]
    present = [sorted(row, key=lambda digit: digit.x) for row in plates if row]
    assert COUNT * 0.33 <= len(present) <= COUNT * 0.55
    assert {len(row) for row in present} == {3, 4, 5}
    for row in present:
        assert [digit.label for digit in row] == list(range(row[0].label, row[0].label + len(row)))
        assert sum(bool(digit.degraded) for digit in row) == 1
        for left, right in zip(row, row[1:], strict=False):
            assert 1 <= right.x - (left.x + left.box[2]) <= 4
    assert {d.degraded for row in present for d in row} == {"", "faint", "eroded", "barred"}
    assert not any(digit.degraded for scene in scenes for digit in scene.digits if not digit.plate)


def test_glyphs_come_from_the_split(glyphs: Glyphs, mini_config: DigitsConfig) -> None:
    for split in SPLITS:
        for index in range(20):
            for digit in make_scene(glyphs, mini_config, split, index).digits:
                assert digit.glyph in glyphs.by_split[split][digit.label]


def test_a_scene_depends_on_its_own_key_only(
    glyphs: Glyphs, mini_config: DigitsConfig, scenes: list[Scene]
) -> None:
    for index in (41, 3):  # in another order, without the scenes between
        np.testing.assert_array_equal(
            make_scene(glyphs, mini_config, "train", index).image, scenes[index].image
        )
    assert (make_scene(glyphs, mini_config, "val", 3).image != scenes[3].image).any()
    other = replace(mini_config, seed=mini_config.seed + 1)
    assert (make_scene(glyphs, other, "train", 3).image != scenes[3].image).any()
