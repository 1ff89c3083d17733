"""The PNG writer against Pillow's decoder and against the format's own definition."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from c2o_model.data.png import encode_png


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda hw: arrays(np.uint8, (*hw, 3))))
def test_pillow_reads_back_exact_pixels(pixels: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert (image.mode, image.format) == ("RGB", "PNG")
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    "height, width", [(128, 128), (1, 21845), (200, 200)]
)  # the second: 65536 = one block + 1
def test_images_of_several_stored_blocks(height: int, width: int) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_nothing_is_compressed() -> None:
    """The size follows from the format alone, so no codec had a say: 57 of chunks, 6 of zlib, 5 a block."""
    data = encode_png(np.zeros((128, 128, 3), np.uint8))
    assert len(data) == 57 + 6 + 5 + 128 * (1 + 3 * 128)
    start = data.index(b"IDAT") + 4
    assert data[start : start + 2] == b"\x78\x01" and zlib.decompress(data[start:-16]) == bytes(128 * 385)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs uint8 \[H, W, 3\], got float64 \[2, 2, 3\]"):
        encode_png(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match=r"got uint8 \[2, 2\]"):
        encode_png(np.zeros((2, 2), np.uint8))
