"""Integer raster operations: the same pixels on every machine.

Every function works in fixed point on integers; no floating point result reaches a pixel.
Images are int32 or uint8 [H, W, 3]; alpha maps are uint8 [H, W], 0 = clear, 255 = solid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntImage = NDArray[np.int32]
Alpha = NDArray[np.uint8]

# round(2**14 * cos(d)), round(2**14 * sin(d)) for d = 0..45 degrees: literal, so no libm is involved.
COS = (
    16384, 16382, 16374, 16362, 16344, 16322, 16294, 16262, 16225, 16182, 16135, 16083,
    16026, 15964, 15897, 15826, 15749, 15668, 15582, 15491, 15396, 15296, 15191, 15082,
    14968, 14849, 14726, 14598, 14466, 14330, 14189, 14044, 13894, 13741, 13583, 13421,
    13255, 13085, 12911, 12733, 12551, 12365, 12176, 11982, 11786, 11585,
)  # fmt: skip
SIN = (
    0, 286, 572, 857, 1143, 1428, 1713, 1997, 2280, 2563, 2845, 3126,
    3406, 3686, 3964, 4240, 4516, 4790, 5063, 5334, 5604, 5872, 6138, 6402,
    6664, 6924, 7182, 7438, 7692, 7943, 8192, 8438, 8682, 8923, 9162, 9397,
    9630, 9860, 10087, 10311, 10531, 10749, 10963, 11174, 11381, 11585,
)  # fmt: skip
MAX_DEGREES = len(COS) - 1


def rotate_resize(glyph: Alpha, size: int, degrees: int) -> Alpha:
    """`glyph` (uint8 [h, w]) scaled so that its longer side is `size` px, turned by `degrees` (|d| <= 45).

    Returns uint8 [P, P] with P = size * 3 // 2 + 2: room for any angle. Bilinear with 8-bit weights,
    inverse mapping about the centre; outside the glyph is 0. Positive angles turn clockwise (y points down).
    """
    height, width = glyph.shape
    side = max(height, width)
    patch = size * 3 // 2 + 2
    cos, sin = COS[abs(degrees)], SIN[abs(degrees)] if degrees >= 0 else -SIN[-degrees]
    # Twice the offset of each pixel centre from the patch centre: an integer for any patch size.
    offset = 2 * np.arange(patch, dtype=np.int32) + 1 - patch
    x, y = offset[None, :], offset[:, None]
    # Source position with 15 fractional bits, relative to the centre of source pixel 0.
    u = (cos * x + sin * y) * side // size + ((width - 1) << 14)
    v = (cos * y - sin * x) * side // size + ((height - 1) << 14)
    padded = np.zeros((height + 3, width + 3), np.int32)  # 1 px before, 2 px after: neighbours always exist
    padded[1:-2, 1:-2] = glyph
    flat, stride = padded.ravel(), width + 3
    u, v = (
        np.clip(u, -(1 << 15), width << 15),
        np.clip(v, -(1 << 15), height << 15),
    )  # before the fraction is taken
    column, row = u >> 15, v >> 15
    fx, fy = (u & 32767) >> 7, (v & 32767) >> 7
    at = (row + 1) * stride + (column + 1)
    top = flat[at] * (256 - fx) + flat[at + 1] * fx
    bottom = flat[at + stride] * (256 - fx) + flat[at + stride + 1] * fx
    return ((top * (256 - fy) + bottom * fy + (1 << 15)) >> 16).astype(np.uint8)


def tight_box(alpha: Alpha, threshold: int) -> tuple[int, int, int, int] | None:
    """Half-open (x0, y0, x1, y1) of the pixels with alpha >= threshold; None when there is none."""
    ink = alpha >= threshold
    columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def upsample(grid: NDArray[np.int32], cell: int, size: int) -> NDArray[np.int32]:
    """`grid` (int32 [G, G], G >= size / cell + 1) bilinearly spread over [size, size], one node every `cell`
    px.

    Values are multiplied by cell**2 (no division, nothing lost).
    """
    index, weight = np.divmod(np.arange(size, dtype=np.int32), cell)
    rows = grid[index] * (cell - weight)[:, None] + grid[index + 1] * weight[:, None]
    return rows[:, index] * (cell - weight) + rows[:, index + 1] * weight


def blend(image: IntImage, alpha: NDArray[np.integer], colour: tuple[int, int, int]) -> None:
    """Paint `colour` over `image` [h, w, 3] in place by `alpha` [h, w] in 0..255, rounded to nearest."""
    weight = alpha.astype(np.int32)[:, :, None]
    image[:] = (image * (255 - weight) + np.array(colour, np.int32) * weight + 127) // 255


def blur(image: IntImage) -> IntImage:
    """`image` [H, W, 3] under the 3x3 binomial kernel [1 2 1] x [1 2 1] / 16, edges repeated, rounded."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) >> 4


def luminance(image: NDArray[np.integer]) -> NDArray[np.int64]:
    """Rec. 601 luma in 0..255 with integer weights 77/150/29 of 256; `image` [..., 3]."""
    pixels = image.astype(np.int64)
    return (77 * pixels[..., 0] + 150 * pixels[..., 1] + 29 * pixels[..., 2]) >> 8
