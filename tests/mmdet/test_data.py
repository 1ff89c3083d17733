"""What MMDetection reads is what the core reads: pixels, sizes, boxes, labels, ids, batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from PIL import Image

from c2o_model.config import load_config
from c2o_model.data.coco import CocoSplit, load_manifest_split, load_split
from c2o_model.data.images import ImageStore
from c2o_model.data.inference import inference_batches
from c2o_model.data.resize import resized_size
from c2o_model.mmdet3.split import split_loader

CONFIGS = {
    "toy": "configs/models/digits/small.yaml",
    "repro_10k": "configs/models/repro10k/diffusiondet_r50.yaml",
    "coco_swin_b": "configs/models/coco/diffusiondet_swin_b.yaml",
}


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_embedded_set_as_coco_dataset_is_the_cores_split(mini: Path, split: str) -> None:
    cfg = Config.fromfile("configs/mmdet/toy.py")
    loader = cfg[f"{split}_dataloader"].dataset
    assert (loader.type, loader.ann_file) == ("CocoDataset", f"{split}.json")
    loader.data_root = f"{mini}/"
    if split == "val":  # a test pipeline has no boxes
        loader.pipeline.insert(1, {"type": "LoadAnnotations", "with_bbox": True})
    dataset = DATASETS.build({**loader, "_scope_": "mmdet"})
    core = load_manifest_split(mini, split)
    store = ImageStore(core)
    assert len(dataset) == len(core) and dataset.metainfo["classes"] == list(core.class_names)
    for index in range(len(core)):
        item = dataset[index]
        sample = item["data_samples"]
        assert sample.img_id == core.image_ids[index]
        assert torch.equal(item["inputs"].flip(0), store[index])  # MMDetection has B, G, R
        truth = sample.gt_instances
        assert np.array_equal(truth.bboxes.tensor.numpy(), core.boxes[index])
        assert np.array_equal(truth.labels.numpy(), core.labels[index])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    """JPEGs and a PNG of several sizes, two neighbours of one size, one turned by its EXIF data."""
    root, rng, images = tmp_path_factory.mktemp("photos"), np.random.default_rng(3), []
    sizes = [(60, 90), (60, 90), (91, 57), (33, 200), (60, 90), (48, 48)]
    for index, (height, width) in enumerate(sizes):
        name = f"{index}.{'png' if index == 5 else 'jpg'}"
        picture = Image.fromarray(rng.integers(0, 256, (height // 3, width // 3, 3)).astype(np.uint8))
        exif = Image.Exif()
        if index == 2:
            exif[0x0112] = 6  # to be turned by 90 degrees
            picture = picture.resize((height, width))
        else:
            picture = picture.resize((width, height))
        picture.save(root / name, exif=exif)
        images.append({"id": 100 - index, "file_name": name, "height": height, "width": width})
    categories = [{"id": 1, "name": "thing"}]
    (root / "set.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return load_split(root / "set.json", root)


@pytest.mark.parametrize(("shorter", "longest"), [(0, 1333), (64, 150), (37, 1333)])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_split_comes_in_the_cores_batches(photos: CocoSplit, shorter: int, longest: int, batch_size: int) -> None:
    core = list(inference_batches(photos, batch_size, shorter, longest))
    theirs = list(split_loader(photos, batch_size, shorter, longest))
    assert [batch.image_ids for batch in core] == [[s.img_id for s in batch["data_samples"]] for batch in theirs]
    for ours, batch in zip(core, theirs, strict=True):
        assert torch.equal(ours.images, torch.stack(batch["inputs"]).flip(1))
        for i, sample in enumerate(batch["data_samples"]):
            assert sample.img_shape == tuple(ours.images.shape[2:])
            assert ours.whwh[i].tolist() == [sample.img_shape[1], sample.img_shape[0]] * 2
    assert any(len(batch) == 2 for batch in (b.image_ids for b in core)) == (batch_size > 1)


@settings(max_examples=60)
@given(st.integers(8, 400), st.integers(8, 400), st.integers(8, 300), st.integers(0, 300))
def test_sizes_after_resizing(height: int, width: int, shorter: int, more: int) -> None:
    longest = shorter + more
    assume(min(height, width) * longest >= max(height, width))  # else less than a pixel is left, and the core keeps one
    resize = TRANSFORMS.build(
        {"type": "mmdet.Resize", "scale": (longest, shorter), "keep_ratio": True, "backend": "pillow"}
    )
    found = resize({"img": np.zeros((height, width, 3), np.uint8), "img_shape": (height, width)})
    assert found["img"].shape[:2] == resized_size(height, width, shorter, longest)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_configurations_say_what_those_of_c2o_say(name: str) -> None:
    theirs, ours = Config.fromfile(f"configs/mmdet/{name}.py"), load_config(CONFIGS[name])
    solver, optimizer = ours.SOLVER, theirs.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", solver.BASE_LR, solver.WEIGHT_DECAY)
    assert theirs.optim_wrapper.paramwise_cfg.norm_decay_mult == solver.WEIGHT_DECAY_NORM
    assert theirs.optim_wrapper.clip_grad.max_norm == solver.CLIP_GRADIENTS.CLIP_VALUE
    assert theirs.train_dataloader.batch_size == solver.IMS_PER_BATCH
    warm, then = theirs.param_scheduler
    assert (warm.start_factor, warm.end, warm.by_epoch) == (solver.WARMUP_FACTOR, solver.WARMUP_ITERS, False)
    if name == "toy":
        assert then.type == "CosineAnnealingLR" and solver.LR_SCHEDULER_NAME == "WarmupCosineLR"
        assert then.T_max == theirs.train_cfg.max_epochs
    else:
        assert then.milestones == list(solver.STEPS) and then.gamma == solver.GAMMA
        assert theirs.train_cfg.max_iters == solver.MAX_ITER
        scale = (ours.INPUT.MAX_SIZE_TEST, ours.INPUT.MIN_SIZE_TEST)
        assert theirs.test_dataloader.dataset.pipeline[1].scale == scale
        sides = {scale[1] for scale in theirs.train_pipeline[3].transforms[0][0].scales}
        assert sides == set(ours.INPUT.MIN_SIZE_TRAIN)
        assert theirs.train_pipeline[3].transforms[1][1].crop_size == tuple(ours.INPUT.CROP.SIZE)
    classes = theirs.train_dataloader.dataset.get("metainfo", {}).get("classes", range(80))
    assert len(classes) == ours.MODEL.DiffusionDet.NUM_CLASSES
