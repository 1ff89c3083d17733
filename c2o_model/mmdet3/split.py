"""A split of C2O's for mmengine's loops: the images that the core evaluates, in its order, in batches of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from c2o_model.data.coco import CocoSplit
from c2o_model.data.resize import resized_size

META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def test_pipeline(shorter: int, longest: int) -> list[dict[str, Any]]:
    """Transforms of MMDetection that read and resize an image as the core does.

    Args:
        shorter: INPUT.MIN_SIZE_TEST, px; 0 leaves images as they are. longest: INPUT.MAX_SIZE_TEST.
    """
    resize = {"type": "Resize", "scale": (longest, shorter), "keep_ratio": True, "backend": "pillow"}
    return [
        {"type": "LoadImageFromFile", "imdecode_backend": "pillow"},
        *([resize] if shorter else []),
        {"type": "PackDetInputs", "meta_keys": META},
    ]


class SplitDataset(Dataset):  # type: ignore[type-arg]
    """The images of a split, without their boxes, as a pipeline packs them."""

    def __init__(self, split: CocoSplit, pipeline: Sequence[dict[str, Any]]) -> None:
        self.split = split
        self.ann_file = str(split.annotation)
        self.metainfo = {"classes": split.class_names}
        self._transform = Compose([TRANSFORMS.build(step) for step in pipeline])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Any:
        height, width = (int(side) for side in self.split.sizes[index])
        known = {"img_path": str(self.split.image_path(index)), "img_id": self.split.image_ids[index]}
        return self._transform({**known, "height": height, "width": width})


def split_loader(split: CocoSplit, batch_size: int, shorter: int, longest: int) -> DataLoader:  # type: ignore[type-arg]
    """The images of ``split`` in order, at most ``batch_size`` at once and only of one size, so that none is padded for
    its neighbours. Other arguments: see :func:`test_pipeline`.
    """
    dataset = SplitDataset(split, test_pipeline(shorter, longest))
    sizes = [(int(h), int(w)) for h, w in split.sizes]
    targets = [resized_size(h, w, shorter, longest) if shorter else (h, w) for h, w in sizes]
    batches: list[list[int]] = []
    for index, target in enumerate(targets):
        if batches and len(batches[-1]) < batch_size and targets[batches[-1][0]] == target:
            batches[-1].append(index)
        else:
            batches.append([index])
    return DataLoader(dataset, batch_sampler=batches, collate_fn=pseudo_collate)
