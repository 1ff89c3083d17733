"""One scene of the embedded set: where its digits stand and how they are painted.

Boxes are tight around the digit's whole ink (alpha >= INK) inside the image, also where a later digit covers
part of it; `hidden` of the configuration bounds how much that may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2o_model.data.backdrop import backdrop
from c2o_model.data.digits_config import DigitsConfig
from c2o_model.data.draw import Draw
from c2o_model.data.glyphs import Glyphs
from c2o_model.data.raster import Alpha, IntImage, blend, blur, luminance, rotate_resize, tight_box

INK = 64  # alpha from which a pixel counts as part of the digit
ATTEMPTS = 24  # tries to place one digit or plate before the scene goes without it
DEGRADATIONS = ("faint", "eroded", "barred")


@dataclass(frozen=True)
class Digit:
    """A placed digit. `alpha` covers exactly the box, which lies inside the image."""

    label: int  # 0..9
    glyph: int  # index of the source glyph
    x: int
    y: int
    alpha: Alpha  # uint8 [h, w]; every edge row and column has ink
    plate: int  # 0: none; else the number of its plate in the scene, from 1
    degraded: str  # "" or one of DEGRADATIONS

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in px."""
        return self.x, self.y, self.alpha.shape[1], self.alpha.shape[0]


@dataclass(frozen=True)
class Scene:
    """An image (uint8 [S, S, 3]) and its digits in painting order."""

    image: NDArray[np.uint8]
    digits: tuple[Digit, ...]


def render(glyphs: Glyphs, index: int, size: int, degrees: int) -> Alpha:
    """Glyph `index` turned by `degrees`, crisp, cut to its ink; its longer side is `size` px, +-2."""
    glyph = glyphs.cropped(index)
    first = _crisp(glyph, size, degrees)
    # Turning makes the box larger by an amount that depends on the glyph: measure, then correct.
    return _crisp(glyph, (size * size + max(first.shape) // 2) // max(first.shape), degrees)


def _crisp(glyph: Alpha, size: int, degrees: int) -> Alpha:
    soft = rotate_resize(glyph, size, degrees).astype(np.int32)
    alpha = np.clip((soft - 56) * 2, 0, 255).astype(np.uint8)  # bilinear edges are 2-3 px wide: make them 1-2
    box = tight_box(alpha, INK)
    assert box is not None  # a stroke of the source is at least 2 px of full ink
    return alpha[box[1] : box[3], box[0] : box[2]]


class _Layout:
    """The digits placed so far, and which of them owns each pixel."""

    def __init__(self, config: DigitsConfig) -> None:
        self.config = config
        self.digits: list[Digit] = []
        self.owner = np.full((config.image_size, config.image_size), -1, np.int32)
        self.ink: list[int] = []
        self.covered: list[int] = []

    def place(self, group: list[Digit]) -> bool:
        """Add a plate, or a group of one; False and nothing done if a digit of it is not allowed there."""
        newly = np.zeros(len(self.digits), np.int64)
        for digit in group:
            if any(_shared(digit.box, other.box) > self.config.overlap for other in self.digits):
                return False
            under = self._window(digit)[digit.alpha >= INK]
            newly += np.bincount(under[under >= 0], minlength=len(self.digits))
        for index, extra in enumerate(newly):
            if (self.covered[index] + extra) * 100 > self.config.hidden * self.ink[index]:
                return False
        for index, extra in enumerate(newly):
            self.covered[index] += int(extra)
        for digit in group:
            inked = digit.alpha >= INK
            self._window(digit)[inked] = len(self.digits)
            self.digits.append(digit)
            self.ink.append(int(inked.sum()))
            self.covered.append(0)
        return True

    def _window(self, digit: Digit) -> NDArray[np.int32]:
        x, y, width, height = digit.box
        return self.owner[y : y + height, x : x + width]


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    """Area two boxes (xywh) share, in per cent of the smaller one."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0
    return 100 * width * height // min(a[2] * a[3], b[2] * b[3])


def _single(draw: Draw, glyphs: Glyphs, split: str, config: DigitsConfig) -> Digit | None:
    """A digit of random class, size, angle and place, cut at the border; None if no ink is left inside."""
    label = draw.integer(0, 9)
    glyph = glyphs.pick(split, label, draw)
    alpha = render(glyphs, glyph, draw.integer(*config.size), draw.integer(-config.rotation, config.rotation))
    height, width = alpha.shape
    out_x, out_y = width * config.outside // 100, height * config.outside // 100
    x = draw.integer(-out_x, max(-out_x, config.image_size - width + out_x))
    y = draw.integer(-out_y, max(-out_y, config.image_size - height + out_y))
    left, top = max(0, -x), max(0, -y)
    visible = alpha[top : config.image_size - y, left : config.image_size - x]
    box = tight_box(visible, INK)
    if box is None:
        return None
    return Digit(
        label, glyph, x + left + box[0], y + top + box[1], visible[box[1] : box[3], box[0] : box[2]], 0, ""
    )


def _plate(draw: Draw, glyphs: Glyphs, split: str, config: DigitsConfig, room: int) -> list[Digit]:
    """Digits in a row that count up by one, one of them marked to be degraded; [] when it would not fit."""
    length = draw.integer(config.plate_length[0], min(config.plate_length[1], room))
    first = draw.integer(0, 10 - length)
    size = draw.integer(*config.plate_size)
    turn = config.rotation // 3  # a plate is written more upright than a stray digit
    tilt, slope = draw.integer(-turn, turn), draw.integer(-2, 2)
    drawn = []
    for step in range(length):
        glyph = glyphs.pick(split, first + step, draw)
        degrees = tilt + draw.integer(-(turn // 2), turn // 2)
        drawn.append((glyph, render(glyphs, glyph, size, degrees), draw.integer(1, 4)))
    bad = draw.integer(0, length - 1)
    degradation = DEGRADATIONS[draw.integer(0, len(DEGRADATIONS) - 1)]
    total = sum(alpha.shape[1] + gap for _, alpha, gap in drawn)
    tallest = max(alpha.shape[0] for _, alpha, _ in drawn)
    drift = slope * (length - 1)
    low, high = 2 - min(drift, 0), config.image_size - tallest - 2 - max(drift, 0)
    if total + 4 > config.image_size or low > high:
        return []
    x, y = draw.integer(2, config.image_size - total - 2), draw.integer(low, high)
    row = []
    for step, (glyph, alpha, gap) in enumerate(drawn):
        top = y + slope * step + (tallest - alpha.shape[0]) // 2
        row.append(Digit(first + step, glyph, x, top, alpha, 1, degradation if step == bad else ""))
        x += alpha.shape[1] + gap
    return row


def lay_out(draw: Draw, glyphs: Glyphs, split: str, config: DigitsConfig) -> tuple[Digit, ...]:
    """The digits of a scene: perhaps a plate, then single digits; at least one."""
    layout = _Layout(config)
    wanted = draw.integer(*config.objects)
    if draw.percent(config.plates):
        for _ in range(ATTEMPTS):
            row = _plate(draw, glyphs, split, config, config.objects[1])
            if row and layout.place(row):
                wanted = min(config.objects[1], len(row) + draw.integer(0, 3))
                break
    for _ in range(max(0, wanted - len(layout.digits))):
        for _ in range(ATTEMPTS):
            single = _single(draw, glyphs, split, config)
            if single is not None and layout.place([single]):
                break
    return tuple(layout.digits)


def _colour(draw: Draw, under: int, contrast: int) -> tuple[int, int, int]:
    """A random colour with a luma at least `contrast` (<= 100, so one exists) from `under`."""
    for _ in range(ATTEMPTS):
        colour = (draw.integer(0, 255), draw.integer(0, 255), draw.integer(0, 255))
        if abs(int(luminance(np.array(colour))) - under) >= contrast:
            return colour
    return (0, 0, 0) if under > 127 else (255, 255, 255)


def _under(image: IntImage, digits: list[Digit]) -> int:
    """Mean luma of the image beneath the boxes of `digits`."""
    values = [luminance(image[y : y + h, x : x + w]) for x, y, w, h in (digit.box for digit in digits)]
    return int(sum(int(value.sum()) for value in values)) // sum(value.size for value in values)


def _paint(draw: Draw, image: IntImage, digit: Digit, colour: tuple[int, int, int]) -> None:
    """Paint `digit` in place, degraded as it says."""
    x, y, width, height = digit.box
    window = image[y : y + height, x : x + width]
    alpha = digit.alpha.astype(np.int32)
    if digit.degraded == "faint":  # little contrast
        alpha = alpha * draw.integer(36, 60) // 255
        window += draw.noise(40, window.shape)
    elif digit.degraded == "eroded":  # blocks of 2x2 px missing, and strong noise around
        kept = draw.integers(0, 99, (height // 2 + 1, width // 2 + 1)) < 38
        alpha = alpha * kept.repeat(2, 0).repeat(2, 1)[:height, :width] * 200 // 255
        window += draw.noise(70, window.shape)
    window[:] = np.clip(window, 0, 255)
    before = window.copy()
    blend(window, alpha, colour)
    if digit.degraded == "barred":  # three of five bands show what was there before
        band, phase = draw.integer(2, 3), draw.integer(0, 14)
        along = np.arange(height if draw.percent(60) else width, dtype=np.int32)
        gone = ((along + phase) // band) % 5 < 3
        if len(gone) == height:
            window[gone] = before[gone]
        else:
            window[:, gone] = before[:, gone]


def _panel(draw: Draw, image: IntImage, row: list[Digit]) -> None:
    """A half-transparent panel under a plate, in place."""
    x0, y0 = min(d.x for d in row) - 3, min(d.y for d in row) - 3
    x1, y1 = max(d.x + d.box[2] for d in row) + 3, max(d.y + d.box[3] for d in row) + 3
    window = image[max(0, y0) : y1, max(0, x0) : x1]
    colour = (draw.integer(0, 255), draw.integer(0, 255), draw.integer(0, 255))
    blend(window, np.full(window.shape[:2], draw.integer(90, 200)), colour)


def make_scene(glyphs: Glyphs, config: DigitsConfig, split: str, index: int) -> Scene:
    """Scene `index` (from 0) of `split`: a pure function of its arguments, whatever else is generated."""
    place = Draw("digits/layout", config.seed, split, index)
    paint = Draw("digits/paint", config.seed, split, index)
    digits = lay_out(place, glyphs, split, config)
    image = backdrop(paint, config.image_size, config.clutter)
    row = [digit for digit in digits if digit.plate]
    row_colour = (0, 0, 0)
    if row:
        if paint.percent(60):
            _panel(paint, image, row)
        row_colour = _colour(paint, _under(image, row), paint.integer(*config.contrast))
    for digit in digits:
        if digit.plate:
            _paint(paint, image, digit, row_colour)
        else:
            contrast = paint.integer(*config.contrast)
            _paint(paint, image, digit, _colour(paint, _under(image, [digit]), contrast))
    once, twice = config.blur
    chance = paint.integer(0, 99)
    for _ in range(2 if chance < twice else 1 if chance < once + twice else 0):
        image = blur(image)
    image = image + paint.noise(paint.integer(*config.noise), image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), digits)
