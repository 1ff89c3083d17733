"""Fixed-N collate of COCO targets, against the strict reader of annotation files and a count by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.data.coco_nodes import collate_coco

coordinate = st.integers(-40, 100)
boxes = st.tuples(coordinate, coordinate, st.integers(-2, 60), st.integers(-2, 60))
annotation = st.fixed_dictionaries(
    {"bbox": boxes.map(list), "category_id": st.sampled_from([1, 3, 90])}, optional={"iscrowd": st.integers(0, 1)}
)
images = st.lists(st.lists(annotation, max_size=5), min_size=1, max_size=4)
LABELS = {1: 0, 3: 1, 90: 2}
SIZE = (48, 64)


def by_hand(one: dict[str, Any], clip: bool) -> list[float] | None:
    """xyxy of an annotation, or None where it is left out."""
    x, y, w, h = one["bbox"]
    corners = [x, y, x + w, y + h]
    if clip:
        corners = [min(max(v, 0), side) for v, side in zip(corners, (64, 48, 64, 48), strict=True)]
    empty = corners[2] <= corners[0] or corners[3] <= corners[1]
    return None if one.get("iscrowd") or empty else [float(v) for v in corners]


@given(images, st.booleans(), st.sampled_from(["list", "dict", "tensors"]))
def test_every_form_gives_the_nodes_that_a_count_by_hand_gives(
    targets: list[list[dict[str, Any]]], clip: bool, form: str
) -> None:
    given_: list[Any] = targets
    if form == "dict":
        given_ = [{"image_id": i, "annotations": one} for i, one in enumerate(targets)]
    elif form == "tensors":
        given_ = []
        for one in targets:
            xywh = torch.tensor([a["bbox"] for a in one]).reshape(-1, 4)
            xyxy = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
            labels = torch.tensor([a["category_id"] for a in one], dtype=torch.int64)
            given_.append({"boxes": xyxy, "labels": labels, "iscrowd": [a.get("iscrowd", 0) for a in one]})
    sizes = [SIZE] * len(targets) if clip else None
    found, labels, mask = collate_coco(given_, 6, 3, label_of=LABELS, sizes=sizes)
    assert found.shape == (len(targets), 6, 4) and found.dtype == torch.float32 and labels.dtype == torch.int64
    for row, one in enumerate(targets):
        kept = [(box, LABELS[a["category_id"]]) for a in one if (box := by_hand(a, clip)) is not None]
        rest = 6 - len(kept)
        assert found[row].tolist() == [box for box, _ in kept] + [[0.0] * 4] * rest
        assert labels[row].tolist() == [label for _, label in kept] + [3] * rest
        assert mask[row].tolist() == [True] * len(kept) + [False] * rest


def test_the_boxes_are_those_of_the_strict_reader(tiny_split: CocoSplit) -> None:
    document = json.loads(tiny_split.annotation.read_text())
    for one in document["annotations"][::2]:
        one["bbox"] = [v + 0.3 for v in one["bbox"]]
    document["annotations"][0]["bbox"] = [60.2, -3.7, 9.0, 20.0]  # over two sides
    document["annotations"][1]["bbox"] = [63.9999999, 5, 40, 5]  # loses its area in float32 only
    changed = tiny_split.annotation.with_name("changed.json")
    changed.write_text(json.dumps(document))
    split = load_split(changed, tiny_split.image_root)
    targets = [[a for a in document["annotations"] if a["image_id"] == i] for i in split.image_ids]
    label_of = {category: label for label, category in enumerate(split.category_ids)}
    sizes = [(int(h), int(w)) for h, w in split.sizes]
    found, labels, mask = collate_coco(targets, 4, 3, label_of=label_of, sizes=sizes)
    assert any(d.annotation_id == 2 for d in split.dropped)
    for row in range(len(split)):
        assert torch.equal(found[row][mask[row]], torch.from_numpy(split.boxes[row]))
        assert torch.equal(labels[row][mask[row]], torch.from_numpy(split.labels[row]))


def test_more_objects_than_nodes_needs_a_generator() -> None:
    target = [{"bbox": [i, 0, 5, 5], "category_id": i} for i in range(4)]
    with pytest.raises(ValueError, match="image 0 has 4 objects, more than 2 nodes; give a generator"):
        collate_coco([target], 2, 4)
    found, labels, mask = collate_coco([target], 2, 4, generator=torch.Generator().manual_seed(3))
    assert mask.all() and found[0, :, 0].tolist() == labels[0].tolist() and labels[0, 0] < labels[0, 1]


@pytest.mark.parametrize(
    ("targets", "labels", "told"),
    [
        ([7], None, r"targets\[0\]: a int is no target; give a list of COCO annotations, or a dict with boxes and"),
        ([[], [{"bbox": [0, 0, 1, 1]}]], None, r"targets\[1\]\[0\]: is no COCO annotation; it needs bbox and cat"),
        ([[{"bbox": [0, 0, 1], "category_id": 0}]], None, r"targets\[0\]\[0\]: bbox: \[0, 0, 1\] is not 4 finite"),
        ([[{"bbox": [0, 0, 1, "a"], "category_id": 0}]], None, r"targets\[0\]\[0\]: bbox: .* is not 4 numbers"),
        ([[{"bbox": [0, 0, 1, float("nan")], "category_id": 0}]], None, "bbox: .* is not 4 finite numbers"),
        ([[{"bbox": [0, 0, 1, 1], "category_id": 9}]], None, r"targets\[0\]: label 9 is outside 0..2; give label_of"),
        ([[{"bbox": [0, 0, 1, 1], "category_id": 9}]], {1: 0}, r"category 9 has no label; label_of knows \[1\]"),
        ([[{"bbox": [0, 0, 1, 1], "category_id": 1}]], {1: 3}, "label 3 is outside 0..2; correct label_of"),
        ([{"labels": [0]}], None, r"targets\[0\]: boxes: is missing; give boxes \[n,4\] xyxy px and labels"),
        ([{"boxes": [[0, 0, 1, 1]], "labels": [0, 1]}], None, r"targets\[0\]: boxes: .* is not 2 x 4 finite numbers"),
    ],
)
def test_what_is_no_target_is_told(targets: list[Any], labels: dict[int, int] | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        collate_coco(targets, 3, 3, label_of=labels)
    with pytest.raises(ValueError, match="sizes: 2 for 1 targets"):
        collate_coco([[]], 3, 3, sizes=[SIZE, SIZE])
