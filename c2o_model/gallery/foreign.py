"""Any picture as the detector takes it: upright, RGB, sized as the configuration says; boxes come back in its pixels.

Called by ``c2o_model.predict``, for pictures that are in no data set as for those that are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from c2o_model.data.errors import DataError
from c2o_model.data.inference import InferenceBatch
from c2o_model.data.resize import resize, resized_size

MOST_PIXELS = 89_478_485  # above it Pillow warns of bombs


def open_picture(path: Path) -> Image.Image:
    """The picture in RGB, turned as its EXIF data says; transparency is left out, 16 bits of grey become 8.

    Raises:
        DataError: it is missing, no picture, truncated or too large.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                what = f"has {image.width} x {image.height} px, more than {MOST_PIXELS} in all"
                raise DataError(path, what, "make it smaller first")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return upright.convert("RGB")
    except FileNotFoundError:
        raise DataError(path, "is missing", "correct the path") from None
    except IsADirectoryError:
        raise DataError(path, "is a directory", "name the picture") from None
    except UnidentifiedImageError:
        raise DataError(path, "is not a picture that Pillow can read", "give a JPEG or PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(path, f"cannot be decoded ({error})", "copy it again from its source") from None


def as_batch(image: Image.Image, image_id: int, shorter: int, longest: int, *, cap: bool) -> InferenceBatch:
    """A batch of one picture, resized as evaluation resizes (INPUT.MIN_SIZE_TEST, MAX_SIZE_TEST).

    cap: with MIN_SIZE_TEST 0, where pictures keep their size, still shrink one with a side above MAX_SIZE_TEST.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    height, width = pixels.shape[1:]
    target = (height, width)
    if shorter:
        target = resized_size(height, width, shorter, longest)
    elif cap and max(height, width) > longest:
        target = resized_size(height, width, min(height, width), longest)
    images = resize(pixels, torch.zeros(0, 4), *target)[0][None]
    whwh = torch.tensor([[target[1], target[0]]]).float().repeat(1, 2)
    limit = torch.tensor([[width, height]]).float().repeat(1, 2) if shorter or target != (height, width) else None
    return InferenceBatch(images, [image_id], whwh, None if limit is None else limit / whwh, limit)
