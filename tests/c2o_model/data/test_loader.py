"""The order of training samples: each image once an epoch, exact resume, the same for any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_model.data.augment import Augment
from c2o_model.data.coco import CocoSplit, load_manifest_split
from c2o_model.data.images import decode
from c2o_model.data.loader import Batch, SeededBatches, image_batches, make_batch
from c2o_model.data.manifest import DataManifest

JITTER = Augment(brightness=20, contrast=20, shift=9)


@pytest.fixture(scope="module")
def train(mini: DataManifest) -> CocoSplit:
    return load_manifest_split(mini.root, "train").select(list(range(40)))


def _bare(count: int) -> CocoSplit:
    """A split of which only the order matters; no image is ever decoded."""
    return CocoSplit(
        Path("x.json"),
        Path("."),
        tuple(range(count)),
        ("x",) * count,
        np.full((count, 2), 10**5),
        (),
        (),
        (),
        (),
        (),
    )


def _equal(a: Batch, b: Batch) -> bool:
    assert isinstance(a.images, torch.Tensor) and isinstance(b.images, torch.Tensor)
    pairs = [(a.images, b.images), (a.image_ids, b.image_ids), (a.boxes, b.boxes), (a.labels, b.labels)]
    return all(torch.equal(x, y) for x, y in pairs)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**32), st.integers(0, 5))
def test_every_image_exactly_once_an_epoch(count: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = SeededBatches(_bare(count), batch_size, seed)
    positions = [divmod(p, batch_size) for p in range(epoch * count, (epoch + 1) * count)]
    assert sorted(batches.index(*position) for position in positions) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(0, 99),
    st.integers(0, 200),
)
def test_ranks_share_the_global_batch(count: int, share: int, world: int, seed: int, iteration: int) -> None:
    split, size = _bare(count), share * world
    whole = [SeededBatches(split, size, seed).index(iteration, slot) for slot in range(size)]
    parts = [SeededBatches(split, size, seed, rank=rank, world_size=world) for rank in range(world)]
    assert [part.index(iteration, slot) for part in parts for slot in part.slots] == whole


def test_ranks_see_the_same_pixels_as_one_process(train: CocoSplit) -> None:
    whole = SeededBatches(train, 8, 3, JITTER).batch(11)
    halves = [SeededBatches(train, 8, 3, JITTER, rank=rank, world_size=2).batch(11) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
    assert torch.equal(torch.cat([half.image_ids for half in halves]), whole.image_ids)


def test_order_depends_on_seed_and_epoch() -> None:
    orders = [
        tuple(SeededBatches(_bare(50), 50, seed).index(epoch, slot) for slot in range(50))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 30))
def test_resume_at_any_iteration_is_exact(train: CocoSplit, start: int) -> None:
    running = SeededBatches(train, 16, 5, JITTER)
    for iteration in range(max(0, start - 2), start):
        running.batch(iteration)
    resumed = SeededBatches(train, 16, 5, JITTER, cache_mb=0)  # a new process, and decoding on the fly
    assert _equal(running.batch(start), resumed.batch(start))


def test_contents_without_transform(train: CocoSplit) -> None:
    batches = SeededBatches(train, 16, 0)
    batch = batches.batch(1)
    most = int(batch.mask.sum(1).max())
    assert isinstance(batch.images, torch.Tensor) and batch.images.dtype == torch.uint8
    assert batch.images.shape == (16, 3, 128, 128) and batch.boxes.shape == (16, most, 4)
    assert batch.sizes.tolist() == [[128, 128]] * 16
    for slot in range(16):
        index = batches.index(1, slot)
        count = len(train.labels[index])
        assert batch.image_ids[slot] == train.image_ids[index]
        assert torch.equal(batch.images[slot], decode(train, index))
        assert batch.boxes[slot, :count].tolist() == train.boxes[index].tolist()
        assert batch.labels[slot].tolist() == train.labels[index].tolist() + [-1] * (most - count)
        assert batch.mask[slot].tolist() == [True] * count + [False] * (most - count)
        assert not batch.boxes[slot, count:].any()


def test_transform_never_touches_the_cache(train: CocoSplit) -> None:
    batches = SeededBatches(train, 8, 0, JITTER)
    batches.batch(0)
    plain = SeededBatches(train, 8, 0).batch(0)
    for slot in range(8):
        assert torch.equal(plain.images[slot], decode(train, batches.index(0, slot)))
        assert torch.equal(batches._store[batches.index(0, slot)], plain.images[slot])


def test_images_of_different_size_stay_a_list() -> None:
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    images = [torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(3, 6, 2, dtype=torch.uint8)]
    batch = make_batch([8, 9], [(image, *none) for image in images])
    assert isinstance(batch.images, list) and batch.sizes.tolist() == [[4, 5], [6, 2]]
    assert batch.boxes.shape == (2, 1, 4) and batch.labels.tolist() == [[-1], [-1]] and not batch.mask.any()


def test_image_batches_show_each_image_in_order(mini: DataManifest) -> None:
    val = load_manifest_split(mini.root, "val")
    batches = list(image_batches(val, 10))
    assert [len(batch.image_ids) for batch in batches] == [10, 10, 4]
    assert torch.cat([batch.image_ids for batch in batches]).tolist() == list(val.image_ids)
    assert torch.equal(batches[2].images[3], decode(val, 23))


def test_impossible_sizes_are_refused(train: CocoSplit) -> None:
    with pytest.raises(ValueError, match="batch size 5 is not a positive multiple of 2 processes"):
        SeededBatches(train, 5, 0, world_size=2)
    with pytest.raises(ValueError, match=r"rank 2 is not in 0\.\.1"):
        SeededBatches(train, 4, 0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="train.json: no image is left to train on"):
        SeededBatches(train.select([]), 4, 0)
    with pytest.raises(ValueError, match="batch size 0 is not positive"):
        next(image_batches(train, 0))
