"""The configuration of the embedded set: `configs/data/digits.yaml` as a typed, checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SPLITS = ("train", "holdout", "val")
GLYPHS_PER_CLASS = 500


class DigitsConfigError(ValueError):
    """A key of the data configuration that is unknown, missing or out of range; the message names it."""


@dataclass(frozen=True)
class DigitsConfig:
    """What a `digits` set looks like. Integers; chances in per cent; lengths in px; [low, high] inclusive."""

    name: str
    seed: int
    image_size: int  # scenes are square
    scenes: dict[str, int]  # images of each split
    glyphs: dict[str, int]  # handwritten digits of each class that belong to each split, sum <= 500
    objects: tuple[int, int]  # objects a scene
    size: tuple[int, int]  # longer side of a digit before it is turned
    rotation: int  # degrees, either way
    overlap: int  # most that two boxes may share, in per cent of the smaller one
    hidden: int  # most of a digit's ink that later digits may cover, in per cent
    outside: int  # most of a digit's side that may leave the image, in per cent
    contrast: tuple[int, int]  # least luma distance of a digit from what lies under it; drawn for each digit
    noise: tuple[int, int]  # amplitude of the pixel noise
    blur: tuple[int, int]  # chance of one and of two 3x3 binomial blurs
    clutter: int  # most strokes in the background that are no digits
    plates: int  # chance that a scene holds a plate
    plate_length: tuple[int, int]  # digits of a plate
    plate_size: tuple[int, int]  # longer side of its digits
    sha256: str | None = None  # expected digest of the whole set; None: not known yet

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DigitsConfig:
        """`raw` (a parsed YAML mapping with kind: digits), checked and typed; DigitsConfigError if bad."""
        values = dict(raw)
        if values.pop("kind", "digits") != "digits":
            raise DigitsConfigError(
                f"kind: {raw['kind']!r} is not 'digits'; use the generator for sets of kind digits"
            )
        known = {field.name: field for field in fields(cls)}
        for key in values:
            if key not in known:
                raise DigitsConfigError(f"{key}: unknown key; known are {', '.join(sorted(known))}")
        for key in known:
            if key not in values and key != "sha256":
                raise DigitsConfigError(f"{key}: missing; see configs/data/digits.yaml")
        for key, value in values.items():
            values[key] = _checked(key, known[key].type, value)
        config = cls(**values)
        config._check_ranges()
        return config

    def _check_ranges(self) -> None:
        def need(ok: bool, key: str, what: str) -> None:
            if not ok:
                raise DigitsConfigError(f"{key}: {getattr(self, key)!r} {what}")

        need(48 <= self.image_size <= 1024, "image_size", "is not in 48..1024")
        need(min(self.scenes.values()) >= 1, "scenes", "needs at least one scene a split")
        need(min(self.glyphs.values()) >= 1, "glyphs", "needs at least one glyph a split")
        need(
            sum(self.glyphs.values()) <= GLYPHS_PER_CLASS,
            "glyphs",
            f"takes more than {GLYPHS_PER_CLASS} a class",
        )
        need(self.objects[0] >= 1, "objects", "must start at 1 or more")
        need(self.size[0] >= 8 and 2 * self.size[1] <= self.image_size, "size", "is not in 8..image_size/2")
        need(self.plate_size[0] >= 8, "plate_size", "starts below 8")
        need(self.plate_length[0] >= 2 and self.plate_length[1] <= 10, "plate_length", "is not in 2..10")
        need(
            self.plates == 0 or self.plate_length[1] * self.plate_size[0] <= self.image_size,
            "plate_length",
            "digits of the smallest plate_size do not fit into the image",
        )
        need(
            self.plates == 0 or self.plate_length[0] <= self.objects[1],
            "objects",
            "leaves no room for a plate",
        )
        need(0 <= self.rotation <= 45, "rotation", "is not in 0..45")
        need(self.contrast[0] >= 1 and self.contrast[1] <= 100, "contrast", "is not in 1..100")
        need(self.noise[0] >= 0 and self.noise[1] <= 127, "noise", "is not in 0..127")
        need(0 <= self.clutter <= 50, "clutter", "is not in 0..50")
        for key in ("overlap", "hidden", "outside", "plates"):
            need(0 <= getattr(self, key) <= 100, key, "is not a percentage")
        need(
            min(self.blur) >= 0 and sum(self.blur) <= 100, "blur", "are not two percentages with a sum <= 100"
        )

    def recipe(self) -> dict[str, Any]:
        """The configuration without the expected digest, as plain JSON values: what the bytes depend on."""
        raw = asdict(self)
        del raw["sha256"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in raw.items()}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(key: str, kind: object, value: Any) -> Any:
    """`value` converted to the declared type of `key`; DigitsConfigError when it is something else."""
    if kind == "int" and _is_int(value):
        return value
    if kind in ("str", "str | None") and isinstance(value, str):
        return value
    if kind == "str | None" and value is None:
        return None
    if (
        kind == "tuple[int, int]"
        and isinstance(value, (list, tuple))
        and len(value) == 2
        and all(map(_is_int, value))
    ):
        if key != "blur" and value[0] > value[1]:
            raise DigitsConfigError(f"{key}: {list(value)!r} has its low end above its high end")
        return (value[0], value[1])
    if kind == "dict[str, int]" and isinstance(value, Mapping):
        if sorted(value) == sorted(SPLITS) and all(map(_is_int, value.values())):
            return {split: value[split] for split in SPLITS}
        raise DigitsConfigError(
            f"{key}: {dict(value)!r} must give an integer for each of {', '.join(SPLITS)}"
        )
    raise DigitsConfigError(f"{key}: {value!r} is not of type {kind}")
