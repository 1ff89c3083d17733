"""Decoding: image files to uint8 RGB tensors, kept in memory when they fit."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from c2o_model.data.coco import CocoSplit
from c2o_model.data.errors import DataError

CACHE_MB = 1024  # decoded size up to which a split is held in memory


def decode(split: CocoSplit, index: int) -> Tensor:
    """Image `index` of `split`: uint8 [3, H, W], RGB, turned upright as its EXIF data says.

    Raises DataError when the file is missing, corrupt or truncated, or has another size than the annotation
    file says.
    """
    path = split.image_path(index)
    try:
        with Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise DataError(path, "is missing", "put the image there") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(path, f"cannot be decoded ({error})", "copy it again from its source") from None
    height, width = (int(value) for value in split.sizes[index])
    if pixels.shape[:2] != (height, width):
        raise DataError(
            path,
            f"is {pixels.shape[0]} x {pixels.shape[1]} px high x wide,"
            f" {split.annotation} says {height} x {width}",
            "correct the annotation file or the image",
        )
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


class ImageStore:
    """The images of a split by index, decoded once if they take at most `cache_mb` MiB, else at each use."""

    def __init__(self, split: CocoSplit, cache_mb: int = CACHE_MB) -> None:
        self.split = split
        self.cached = int(split.sizes.prod(1).sum()) * 3 <= cache_mb * 2**20
        self._images = [decode(split, index) for index in range(len(split))] if self.cached else []

    def __getitem__(self, index: int) -> Tensor:
        """uint8 [3, H, W]. A cached image is shared: do not write into it."""
        return self._images[index] if self.cached else decode(self.split, index)
