"""Pictures as users of Diffusers have them, as the detector takes them: RGB, sized as evaluation sizes them, batched.

A batch has pictures of one size, as in :mod:`c2o_model.data.inference`: padding would let neighbours change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from c2o_model.data.inference import InferenceBatch
from c2o_model.data.resize import resize, resized_size

Picture = Image.Image | Tensor | NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedBatch:
    """A batch with its feature pyramid, levels [B,C,H_l,W_l], on the detector's device."""

    batch: InferenceBatch
    features: list[Tensor]


def batches_of(
    images: Picture | Sequence[Picture], image_ids: Sequence[int], shorter: int, longest: int
) -> list[InferenceBatch]:
    """The pictures in order, neighbours of one size together.

    Args:
        images: PIL pictures (turned as their EXIF data says), uint8 tensors [3,H,W] RGB or arrays [H,W,3] RGB, one or
            a list; also a tensor [B,3,H,W] or an array [B,H,W,3].
        image_ids: of each picture.
        shorter: INPUT.MIN_SIZE_TEST, px; 0 leaves pictures as they are. longest: INPUT.MAX_SIZE_TEST.

    Raises:
        ValueError: there is no picture, one is of another kind, or the number of ids differs.
    """
    pictures = [_pixels(one, number) for number, one in enumerate(_listed(images))]
    if not pictures:
        raise ValueError("images: there is none; give a picture or a list of them")
    if len(pictures) != len(image_ids):
        raise ValueError(f"image_ids: {len(image_ids)} for {len(pictures)} pictures; give one each")
    sizes = [(int(p.shape[1]), int(p.shape[2])) for p in pictures]
    targets = [resized_size(h, w, shorter, longest) if shorter else (h, w) for h, w in sizes]
    found, start = [], 0
    while start < len(pictures):
        end = start + 1
        while end < len(pictures) and targets[end] == targets[start]:
            end += 1
        height, width = targets[start]
        stacked = torch.stack([resize(p, torch.zeros(0, 4), height, width)[0] for p in pictures[start:end]])
        whwh = torch.tensor([[width, height]]).float().repeat(end - start, 2)
        limit = torch.tensor([[w, h] for h, w in sizes[start:end]]).float().repeat(1, 2) if shorter else None
        scale = None if limit is None else limit / whwh
        found.append(InferenceBatch(stacked, [int(i) for i in image_ids[start:end]], whwh, scale, limit))
        start = end
    return found


def count_of(images: Picture | Sequence[Picture]) -> int:
    """How many pictures ``images`` holds."""
    return len(_listed(images))


def _listed(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    if isinstance(images, Image.Image) or (isinstance(images, Tensor | np.ndarray) and images.ndim == 3):
        return [images]
    return images


def _pixels(picture: Picture, number: int) -> Tensor:
    """uint8 [3,H,W]."""
    if isinstance(picture, Image.Image):
        picture = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    what = f"images[{number}]"
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            shape = list(picture.shape)
            raise ValueError(f"{what}: an array {shape} of {picture.dtype}; give uint8 [height, width, 3], RGB")
        return torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C"))  # a copy: PIL's are not writable
    if not isinstance(picture, Tensor):
        raise ValueError(
            f"{what}: a {type(picture).__name__}; give a PIL picture, a uint8 tensor [3,H,W] or an array [H,W,3]"
        )
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] != 3:
        kind = str(picture.dtype).removeprefix("torch.")
        raise ValueError(f"{what}: a tensor {list(picture.shape)} of {kind}; give uint8 [3, height, width], RGB")
    return picture.cpu()
