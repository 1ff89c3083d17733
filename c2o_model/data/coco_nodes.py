"""Fixed-N collate of COCO targets: what a data set of torchvision, Transformers or MMDetection hands over, as graph nodes.

A target of an image has one of three forms:

* COCO annotations (cocodataset.org/#format-data): a list of dicts with ``bbox`` [x, y, w, h] px, ``category_id`` and,
  where it is a crowd region, ``iscrowd``;
* the same list as ``annotations`` of a dict, beside ``image_id``;
* tensors, as torchvision's detectors take them: a dict with ``boxes`` [n,4] xyxy px, ``labels`` [n] and maybe
  ``iscrowd`` [n].

Crowd regions and boxes without area are left out, as :func:`c2o_model.data.coco.load_split` leaves them out. Called by
training outside of :mod:`c2o_model.training`: with Diffusers' schedulers and by MMDetection's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from c2o_model.data.nodes import collate_nodes

Target = Sequence[Mapping[str, Any]] | Mapping[str, Any]


def collate_coco(
    targets: Sequence[Target],
    count: int,
    unk: int,
    *,
    label_of: Mapping[int, int] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The targets of B images as boxes [B,N,4] xyxy px, labels [B,N] and mask [B,N], N = ``count``.

    Nodes without an object have a zero box, the label ``unk`` and mask False; see
    :func:`c2o_model.data.nodes.collate_nodes`, also for images with more than N objects.

    Args:
        unk: K, the label of nodes without an object.
        label_of: category id -> label in 0..K-1; None where the targets have labels already.
        sizes: (height, width) of each image in px: boxes are clipped to it. None leaves them as they are.

    Raises:
        ValueError: a target in none of the forms, a category without a label, a label outside 0..K-1, a box that is no
            four finite numbers; the message says which image and object.
    """
    if sizes is not None and len(sizes) != len(targets):
        raise ValueError(f"sizes: {len(sizes)} for {len(targets)} targets; give (height, width) of each image")
    boxes, labels = [], []
    for row, target in enumerate(targets):
        own, categories = _read(target, f"targets[{row}]")
        if sizes is not None:
            height, width = sizes[row]
            own = own.clamp(min=0).minimum(own.new_tensor([width, height, width, height]))
        own = own.float()  # what training sees: a sliver may lose its area only here
        kept = (own[:, 2:] > own[:, :2]).all(dim=1)
        boxes.append(own[kept])
        labels.append(_labels(categories[kept], unk, label_of, f"targets[{row}]"))
    return collate_nodes(boxes, labels, count, unk, generator)


def _read(target: Target, where: str) -> tuple[Tensor, Tensor]:
    """Boxes float64 [n,4] xyxy and categories int64 [n] of the objects that are no crowd regions."""
    if isinstance(target, Mapping) and "annotations" in target:
        target, where = target["annotations"], f"{where}: annotations"
    if isinstance(target, Mapping):
        return _tensors(target, where)
    if not isinstance(target, Sequence) or isinstance(target, str):
        raise ValueError(
            f"{where}: a {type(target).__name__} is no target; give a list of COCO annotations, or a dict with boxes "
            "and labels"
        )
    rows, categories = [], []
    for number, annotation in enumerate(target):
        place = f"{where}[{number}]"
        if not isinstance(annotation, Mapping) or "bbox" not in annotation or "category_id" not in annotation:
            raise ValueError(f"{place}: is no COCO annotation; it needs bbox and category_id")
        if annotation.get("iscrowd", 0):
            continue
        x, y, w, h = _finite(annotation["bbox"], (4,), f"{place}: bbox").tolist()
        rows.append([x, y, x + w, y + h])
        categories.append(int(annotation["category_id"]))
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4), torch.tensor(categories, dtype=torch.int64)


def _tensors(target: Mapping[str, Any], where: str) -> tuple[Tensor, Tensor]:
    for key in ("boxes", "labels"):
        if key not in target:
            raise ValueError(f"{where}: {key}: is missing; give boxes [n,4] xyxy px and labels [n]")
    categories = torch.as_tensor(target["labels"]).long().reshape(-1)
    boxes = _finite(target["boxes"], (len(categories), 4), f"{where}: boxes")
    if (crowd := target.get("iscrowd")) is not None:
        single = ~torch.as_tensor(crowd, device=boxes.device).bool().reshape(-1)
        boxes, categories = boxes[single], categories[single]
    return boxes, categories


def _finite(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """The numbers as float64, of this shape; an empty list may stand for no boxes."""
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{what}: {value!r} is not {' x '.join(map(str, shape))} numbers") from None
    numbers = numbers.reshape(shape) if not numbers.numel() and not shape[0] else numbers
    if tuple(numbers.shape) != shape or not bool(numbers.isfinite().all()):
        raise ValueError(f"{what}: {value!r} is not {' x '.join(map(str, shape))} finite numbers")
    return numbers


def _labels(categories: Tensor, unk: int, label_of: Mapping[int, int] | None, where: str) -> Tensor:
    if label_of is not None:
        for category in categories.tolist():
            if category not in label_of:
                raise ValueError(f"{where}: category {category} has no label; label_of knows {sorted(label_of)}")
        mapped = [label_of[category] for category in categories.tolist()]
        categories = torch.tensor(mapped, dtype=torch.int64, device=categories.device)
    outside = categories[(categories < 0) | (categories >= unk)].tolist()
    if outside:
        todo = "give label_of" if label_of is None else "correct label_of"
        raise ValueError(f"{where}: label {outside[0]} is outside 0..{unk - 1}; {todo}")
    return categories
