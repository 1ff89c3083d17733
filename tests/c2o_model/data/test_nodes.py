"""Fixed-N collate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2o_model.data.nodes import collate_nodes


def _images(counts: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Boxes whose first coordinate is their running number, labels that are it."""
    start, boxes, labels = 0, [], []
    for count in counts:
        numbers = torch.arange(start, start + count)
        boxes.append(torch.stack([numbers, numbers, numbers + 1, numbers + 2], 1).float().reshape(-1, 4))
        labels.append(numbers)
        start += count
    return boxes, labels


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(5, 9))
def test_pads_with_unk(counts: list[int], nodes: int) -> None:
    given_boxes, given_labels = _images(counts)
    boxes, labels, mask = collate_nodes(given_boxes, given_labels, nodes, unk=99)
    assert boxes.shape == (len(counts), nodes, 4) and labels.shape == mask.shape == (len(counts), nodes)
    for row, count in enumerate(counts):
        assert mask[row].tolist() == [True] * count + [False] * (nodes - count)
        assert labels[row].tolist() == given_labels[row].tolist() + [99] * (nodes - count)
        assert boxes[row].tolist() == given_boxes[row].tolist() + [[0.0] * 4] * (nodes - count)


def test_more_objects_than_nodes_keeps_a_random_subset_in_order() -> None:
    given_boxes, given_labels = _images([6, 2])
    seen = set()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        boxes, labels, mask = collate_nodes(given_boxes, given_labels, 3, 99, generator)
        kept = labels[0].tolist()
        assert kept == sorted(set(kept)) and mask[0].all() and boxes[0, :, 0].tolist() == kept
        assert labels[1].tolist() == [6, 7, 99]
        seen.add(tuple(kept))
    assert len(seen) > 10
    with pytest.raises(ValueError, match="image 0 has 6 objects, more than 3 nodes; give a generator"):
        collate_nodes(given_boxes, given_labels, 3, 99)
