"""Batches as a pure function of (seed, iteration): resuming needs no loader state.

The samples form one endless stream: epoch after epoch, each a permutation drawn from (seed, epoch). Iteration
i takes the positions i * B .. i * B + B - 1 of it, B the global batch size; batches run on over the end of an
epoch, so every image is used exactly once an epoch. What augmentation does to a sample is drawn from (seed,
iteration, slot). Ranks share the stream: rank r of W takes the r-th of W equal parts of each batch, so the
global batch does not depend on W.

Streams are `draw.Draw`: SHA-256 of the key into a frozen generator, alike on every machine and library
version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from c2o_model.data.coco import CocoSplit
from c2o_model.data.draw import Draw
from c2o_model.data.images import CACHE_MB, ImageStore

Transform = Callable[[Tensor, Tensor, Tensor, Draw], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Batch:
    """B images and their boxes, padded to G = the most boxes of an image (at least 1)."""

    images: Tensor | list[Tensor]  # uint8 [B, 3, H, W] RGB; a list of [3, H, W] when sizes differ
    boxes: Tensor  # float32 [B, G, 4] xyxy px; padding is 0
    labels: Tensor  # int64 [B, G] in 0..K-1; padding is -1
    mask: Tensor  # bool [B, G]; True where there is a box
    image_ids: Tensor  # int64 [B]
    sizes: Tensor  # int64 [B, 2] height, width


def make_batch(image_ids: list[int], samples: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Put samples (image uint8 [3, H, W], boxes float32 [n, 4], labels int64 [n]) together, in order."""
    images = [image for image, _, _ in samples]
    most = max(1, *(len(labels) for _, _, labels in samples))
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.full((len(samples), most), -1, dtype=torch.int64)
    for slot, (_, own_boxes, own_labels) in enumerate(samples):
        boxes[slot, : len(own_boxes)] = own_boxes
        labels[slot, : len(own_labels)] = own_labels
    same = all(image.shape == images[0].shape for image in images)
    return Batch(
        images=torch.stack(images) if same else images,
        boxes=boxes,
        labels=labels,
        mask=labels >= 0,
        image_ids=torch.tensor(image_ids, dtype=torch.int64),
        sizes=torch.tensor([list(image.shape[1:]) for image in images], dtype=torch.int64),
    )


def _sample(store: ImageStore, index: int) -> tuple[Tensor, Tensor, Tensor]:
    split = store.split
    return store[index], torch.from_numpy(split.boxes[index]), torch.from_numpy(split.labels[index])


class SeededBatches:
    """Training batches of a split; see the module for the order.

    `batch_size` is the global one and must be divisible by `world_size`. `transform(image, boxes, labels,
    draw)`, e.g. `augment.Augment`, is applied to each sample. Raises ValueError for impossible sizes,
    DataError for bad images.
    """

    def __init__(
        self,
        split: CocoSplit,
        batch_size: int,
        seed: int,
        transform: Transform | None = None,
        rank: int = 0,
        world_size: int = 1,
        cache_mb: int = CACHE_MB,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in 0..{world_size - 1}")
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(f"batch size {batch_size} is not a positive multiple of {world_size} processes")
        if not len(split):
            raise ValueError(f"{split.annotation}: no image is left to train on")
        self.split, self.batch_size, self.seed, self.transform = split, batch_size, seed, transform
        share = batch_size // world_size
        self.slots = range(rank * share, (rank + 1) * share)
        self._store = ImageStore(split, cache_mb)
        self._order = lru_cache(maxsize=2)(self._permutation)  # a batch touches two epochs at its border

    def _permutation(self, epoch: int) -> tuple[int, ...]:
        return Draw("loader/order", self.seed, epoch).permutation(len(self.split))

    def index(self, iteration: int, slot: int) -> int:
        """Which image (0..M-1) slot `slot` (0..batch_size-1) of iteration `iteration` (from 0) shows."""
        epoch, place = divmod(iteration * self.batch_size + slot, len(self.split))
        return self._order(epoch)[place]

    def batch(self, iteration: int, slots: range | None = None) -> Batch:
        """This rank's part of batch `iteration` (from 0), or the named slots of the global batch."""
        slots = self.slots if slots is None else slots
        indices = [self.index(iteration, slot) for slot in slots]
        samples = [_sample(self._store, index) for index in indices]
        if self.transform is not None:
            draws = [Draw("loader/augment", self.seed, iteration, slot) for slot in slots]
            samples = [self.transform(*sample, draw) for sample, draw in zip(samples, draws, strict=True)]
        return make_batch([self.split.image_ids[index] for index in indices], samples)


def image_batches(split: CocoSplit, batch_size: int) -> Iterator[Batch]:
    """The images of `split` in order, unchanged, decoded as they come; the last batch may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size} is not positive")
    store = ImageStore(split, cache_mb=0)
    for start in range(0, len(split), batch_size):
        indices = range(start, min(start + batch_size, len(split)))
        yield make_batch([split.image_ids[i] for i in indices], [_sample(store, i) for i in indices])
