"""Textured backgrounds: two colours mixed by integer value noise, stripes or blocks, and stray strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2o_model.data.draw import Draw
from c2o_model.data.raster import IntImage, blend, upsample

TEXTURES = ("clouds", "grain", "stripes", "blocks", "ramp")


def _value_noise(draw: Draw, size: int, cell: int) -> NDArray[np.int32]:
    """Smooth noise in 0..255, int32 [size, size], with one random value every `cell` px."""
    nodes = size // cell + 2
    return upsample(draw.integers(0, 255, (nodes, nodes)), cell, size) // (cell * cell)


def _mix(draw: Draw, size: int) -> NDArray[np.int32]:
    """How much of the second colour each pixel takes: int32 [size, size] in 0..255."""
    kind = TEXTURES[draw.integer(0, len(TEXTURES) - 1)]
    clouds = _value_noise(draw, size, 32)
    if kind == "clouds":
        return (2 * clouds + _value_noise(draw, size, 16)) // 3
    if kind == "grain":
        return (clouds + _value_noise(draw, size, 8) + _value_noise(draw, size, 4)) // 3
    y, x = np.mgrid[0:size, 0:size].astype(np.int32)
    if kind == "stripes":  # a triangle wave across a random direction
        across = x * draw.integer(-8, 8) + y * draw.integer(1, 8)
        wave = np.abs((across * 4 + draw.integer(0, 255)) % 512 - 256).clip(0, 255)
        return (2 * wave + clouds) // 3
    if kind == "blocks":
        cell = draw.integer(10, 40)
        tiles = draw.integers(0, 255, (size // cell + 2, size // cell + 2))
        dx, dy = draw.integer(0, cell - 1), draw.integer(0, cell - 1)
        return (2 * tiles[(y + dy) // cell, (x + dx) // cell] + clouds) // 3
    ramp = x * draw.integer(-4, 4) + y * draw.integer(-4, 4)
    ramp = (ramp - ramp.min()) * 255 // max(1, int(ramp.max() - ramp.min()))
    return (2 * ramp + clouds) // 3


def _stroke(draw: Draw, image: IntImage) -> None:
    """One straight stroke of random place, length, width and strength, painted in place."""
    size = image.shape[0]
    x0, y0 = draw.integer(0, size - 1), draw.integer(0, size - 1)
    dx, dy = draw.integer(-40, 40), draw.integer(-40, 40)
    half = draw.integer(1, 2)
    y, x = np.mgrid[0:size, 0:size].astype(np.int32)
    along = (x - x0) * dx + (y - y0) * dy
    across = np.abs((x - x0) * dy - (y - y0) * dx)
    inside = (
        (along >= 0) & (along <= dx * dx + dy * dy) & (across * across <= half * half * (dx * dx + dy * dy))
    )
    colour = (draw.integer(0, 255), draw.integer(0, 255), draw.integer(0, 255))
    blend(image, inside * draw.integer(60, 160), colour)


def backdrop(draw: Draw, size: int, clutter: int) -> IntImage:
    """A background, int32 [size, size, 3] in 0..255, with 0..`clutter` stray strokes."""
    first = draw.integers(20, 235, (3,))
    second = np.clip(first + draw.integers(-70, 70, (3,)), 0, 255)
    mix = _mix(draw, size)[:, :, None]
    image: IntImage = (first * (255 - mix) + second * mix + 127) // 255
    for _ in range(draw.integer(0, clutter)):
        _stroke(draw, image)
    return image
