"""Boxes with class and score on a picture, and a sampling as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, which colour-blind readers can tell apart; classes take them in turn.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
GREY = "#9a9a9a"
LEGIBLE = 480  # px: a smaller picture is drawn enlarged by a whole factor
STEP_MS, LAST_MS = 300, 2000


@dataclass(frozen=True)
class Drawn:
    """A detection to draw: box x1, y1, x2, y2 in px of the picture, what stands at it, the number of its class."""

    box: Sequence[float]
    text: str
    label: int


def factor(image: Image.Image) -> int:
    """By how much a picture is enlarged."""
    return max(1, LEGIBLE // max(image.size))


def draw(image: Image.Image, found: Sequence[Drawn], noisy: Sequence[Sequence[float]] = ()) -> Image.Image:
    """The picture, enlarged by :func:`factor`, with its detections, best last; ``noisy`` boxes are thin and grey."""
    times = factor(image)
    picture = image.convert("RGB").resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    pen, width = ImageDraw.Draw(picture), max(2, round(max(picture.size) / 400))
    font = ImageFont.load_default(max(11, round(max(picture.size) / 45)))
    for box in noisy:
        pen.rectangle(_corners(box, times, picture), outline=GREY, width=1)
    for one in found:
        pen.rectangle(_corners(one.box, times, picture), outline=colour(one.label), width=width)
    for one in found:  # above all boxes
        _write(pen, one, times, font, picture)
    return picture


def colour(label: int) -> str:
    """The colour of a class."""
    return COLOURS[label % len(COLOURS)]


def _corners(box: Sequence[float], times: int, picture: Image.Image) -> tuple[int, int, int, int]:
    """The outermost pixels of a box, inside the picture and in order."""
    x1, y1, x2, y2 = (round(side * times) for side in box)
    left, top = (max(0, min(side, most - 1)) for side, most in zip((x1, y1), picture.size, strict=True))
    right, bottom = (max(0, min(side - 1, most - 1)) for side, most in zip((x2, y2), picture.size, strict=True))
    return left, top, max(left, right), max(top, bottom)


def _write(
    pen: ImageDraw.ImageDraw,
    one: Drawn,
    times: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    on: Image.Image,
) -> None:
    """The text above the box, or inside it where there is no room, dark on the box's colour."""
    left, top, _, _ = _corners(one.box, times, on)
    x1, y1, x2, y2 = pen.textbbox((0, 0), one.text, font=font)
    wide, high = int(x2 - x1) + 6, int(y2 - y1) + 4
    x, y = max(0, min(left, on.width - wide)), top - high if top >= high else top
    pen.rectangle((x, y, x + wide, y + high), fill=colour(one.label))
    pen.text((x + 3 - x1, y + 2 - y1), one.text, fill="black", font=font)


def caption(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text below."""
    font = ImageFont.load_default(max(12, round(max(picture.size) / 32)))
    x1, y1, _, y2 = ImageDraw.Draw(picture).textbbox((0, 0), text, font=font)
    framed = Image.new("RGB", (picture.width, picture.height + int(y2 - y1) + 12), "white")
    framed.paste(picture, (0, 0))
    ImageDraw.Draw(framed).text((6 - x1, picture.height + 6 - y1), text, fill="black", font=font)
    return framed


def write_gif(frames: Sequence[Image.Image], path: Path) -> None:
    """An endless animation, one frame a step; the last stands longer. All frames must have one size and differ."""
    first, *others = (frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=255) for frame in frames)
    times = [STEP_MS] * len(others) + [LAST_MS]
    first.save(path, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)
