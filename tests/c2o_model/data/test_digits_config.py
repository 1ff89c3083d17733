"""Every fault of a data configuration is named by its key."""

from __future__ import annotations

from typing import Any

import pytest

from c2o_model.data.digits_config import DigitsConfig, DigitsConfigError


def test_recipe_is_the_file_without_kind_and_digest(mini_raw: dict[str, Any]) -> None:
    expected = {key: value for key, value in mini_raw.items() if key not in ("kind", "sha256")}
    assert DigitsConfig.from_dict(mini_raw).recipe() == expected


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("colour", 3, "colour: unknown key; known are blur, "),
        ("kind", "coco", "kind: 'coco' is not 'digits'"),
        ("seed", "one", "seed: 'one' is not of type int"),
        ("seed", True, "seed: True is not of type int"),
        ("rotation", 2.5, "rotation: 2.5 is not of type int"),
        ("rotation", 50, "rotation: 50 is not in 0..45"),
        ("size", [30, 20], "size: [30, 20] has its low end above its high end"),
        ("size", [14, 70], "size: (14, 70) is not in 8..image_size/2"),
        ("size", [14], "size: [14] is not of type tuple[int, int]"),
        ("objects", [0, 4], "objects: (0, 4) must start at 1 or more"),
        ("objects", [1, 2], "objects: (1, 2) leaves no room for a plate"),
        ("scenes", {"train": 5}, "scenes: {'train': 5} must give an integer for each of train, holdout, val"),
        ("scenes", {"train": 5, "holdout": 0, "val": 1}, "needs at least one scene a split"),
        ("glyphs", {"train": 450, "holdout": 50, "val": 1}, "takes more than 500 a class"),
        ("overlap", 101, "overlap: 101 is not a percentage"),
        ("blur", [80, 30], "blur: (80, 30) are not two percentages with a sum <= 100"),
        ("contrast", [65, 140], "contrast: (65, 140) is not in 1..100"),
        ("noise", [-1, 4], "noise: (-1, 4) is not in 0..127"),
        ("image_size", 20, "image_size: 20 is not in 48..1024"),
        ("plate_length", [3, 9], "digits of the smallest plate_size do not fit into the image"),
        ("clutter", -1, "clutter: -1 is not in 0..50"),
        ("sha256", 12, "sha256: 12 is not of type str | None"),
    ],
)
def test_bad_value(mini_raw: dict[str, Any], key: str, value: Any, message: str) -> None:
    with pytest.raises(DigitsConfigError) as caught:
        DigitsConfig.from_dict({**mini_raw, key: value})
    assert message in str(caught.value)


def test_missing_key(mini_raw: dict[str, Any]) -> None:
    raw = {key: value for key, value in mini_raw.items() if key != "noise"}
    with pytest.raises(DigitsConfigError, match="noise: missing; see configs/data/digits.yaml"):
        DigitsConfig.from_dict(raw)
