"""Integer raster operations against slow scalar references, exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from c2o_model.data.raster import COS, SIN, blend, blur, luminance, rotate_resize, tight_box, upsample


def _random(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def test_tables_are_rounded_cosines_and_sines() -> None:
    for degrees in range(46):
        assert COS[degrees] == round(2**14 * math.cos(math.radians(degrees)))
        assert SIN[degrees] == round(2**14 * math.sin(math.radians(degrees)))


def _reference(glyph: np.ndarray, size: int, degrees: int) -> np.ndarray:
    """Exact rational inverse mapping of every pixel centre, rounded down to the documented 2^-15 and 2^-8."""
    height, width = glyph.shape
    patch = size * 3 // 2 + 2
    cos = Fraction(COS[abs(degrees)], 2**14)
    sin = Fraction(SIN[abs(degrees)], 2**14) * (1 if degrees >= 0 else -1)
    scale = Fraction(max(height, width), size)

    def at(row: int, column: int) -> int:
        return int(glyph[row, column]) if 0 <= row < height and 0 <= column < width else 0

    out = np.zeros((patch, patch), np.uint8)
    for i in range(patch):
        for j in range(patch):
            x = Fraction(2 * j + 1 - patch, 2)
            y = Fraction(2 * i + 1 - patch, 2)
            u = Fraction(math.floor((cos * x + sin * y) * scale * 2**15), 2**15) + Fraction(width - 1, 2)
            v = Fraction(math.floor((cos * y - sin * x) * scale * 2**15), 2**15) + Fraction(height - 1, 2)
            column, row = math.floor(u), math.floor(v)
            fx, fy = math.floor((u - column) * 256), math.floor((v - row) * 256)
            total = (
                at(row, column) * (256 - fx) * (256 - fy)
                + at(row, column + 1) * fx * (256 - fy)
                + at(row + 1, column) * (256 - fx) * fy
                + at(row + 1, column + 1) * fx * fy
            )
            out[i, j] = (total + 2**15) >> 16
    return out


@pytest.mark.parametrize(
    "height, width, size, degrees",
    [(20, 13, 14, 0), (20, 20, 31, 17), (9, 20, 24, -20), (20, 4, 33, 45), (5, 5, 5, 0)],
)
def test_rotate_resize_equals_exact_reference(height: int, width: int, size: int, degrees: int) -> None:
    glyph = _random(size, height, width)
    np.testing.assert_array_equal(rotate_resize(glyph, size, degrees), _reference(glyph, size, degrees))


def test_unturned_glyph_at_its_own_size_is_itself() -> None:
    glyph = _random(1, 20, 20)
    patch = rotate_resize(glyph, 20, 0)
    np.testing.assert_array_equal(patch[6:26, 6:26], glyph)
    assert patch.sum() == glyph.sum(dtype=np.int64)  # and nothing else: no smear at the edges


def test_upsample_interpolates_between_nodes() -> None:
    grid = np.random.RandomState(2).randint(0, 256, (5, 5)).astype(np.int32)
    spread = upsample(grid, 4, 16)
    for y in range(16):
        for x in range(16):
            (j, b), (i, a) = divmod(y, 4), divmod(x, 4)
            expected = (
                grid[j, i] * (4 - a) * (4 - b)
                + grid[j, i + 1] * a * (4 - b)
                + grid[j + 1, i] * (4 - a) * b
                + grid[j + 1, i + 1] * a * b
            )
            assert spread[y, x] == expected


def test_blend_rounds_to_nearest() -> None:
    image = _random(3, 8, 8, 3).astype(np.int32)
    alpha, before = _random(4, 8, 8), image.copy()
    blend(image, alpha, (10, 250, 128))
    for y in range(8):
        for x in range(8):
            for c, colour in enumerate((10, 250, 128)):
                exact = Fraction(
                    int(before[y, x, c]) * (255 - int(alpha[y, x])) + colour * int(alpha[y, x]), 255
                )
                assert image[y, x, c] == math.floor(exact + Fraction(127, 255))


def test_blur_is_the_binomial_kernel() -> None:
    image = _random(5, 7, 6, 3).astype(np.int32)
    kernel = {(dy, dx): (2 - abs(dy)) * (2 - abs(dx)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    blurred = blur(image)
    for y in range(7):
        for x in range(6):
            for c in range(3):
                total = sum(
                    weight * int(image[min(max(y + dy, 0), 6), min(max(x + dx, 0), 5), c])
                    for (dy, dx), weight in kernel.items()
                )
                assert blurred[y, x, c] == (total + 8) // 16


def test_tight_box_and_luminance() -> None:
    alpha = np.zeros((6, 7), np.uint8)
    alpha[2, 3], alpha[4, 5], alpha[0, 0] = 64, 200, 63
    assert tight_box(alpha, 64) == (3, 2, 6, 5)
    assert tight_box(np.full((3, 3), 63, np.uint8), 64) is None
    assert luminance(np.array([[255, 255, 255], [0, 0, 0], [0, 255, 0]])).tolist() == [255, 0, 149]
