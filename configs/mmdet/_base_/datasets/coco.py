# COCO 2017 where Detectron2's layout has it, with the resizing, flips and crops of configs/models/coco/base.yaml.
data_root = "datasets/coco/"
load = {"type": "LoadImageFromFile", "imdecode_backend": "pillow"}  # which C2O decodes with
pack = {"type": "PackDetInputs", "meta_keys": ["img_id", "img_path", "ori_shape", "img_shape", "scale_factor"]}
shorter = [(1333, side) for side in range(480, 801, 32)]
resize = {"type": "RandomChoiceResize", "scales": shorter, "keep_ratio": True, "backend": "pillow"}
before_crop = {**resize, "scales": [(1333, 400), (1333, 500), (1333, 600)]}
crop = {
    "type": "RandomCrop",
    "crop_type": "absolute_range",
    "crop_size": (384, 600),
    "allow_negative_crop": True,
}
train_pipeline = [
    load,
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "RandomChoice", "transforms": [[resize], [before_crop, crop, resize]]},
    {"type": "FilterAnnotations", "min_gt_bbox_wh": (1e-2, 1e-2), "keep_empty": False},
    pack,
]
test_pipeline = [
    load,
    {"type": "Resize", "scale": (1333, 800), "keep_ratio": True, "backend": "pillow"},
    pack,
]
train_dataloader = {
    "batch_size": 16,
    "num_workers": 4,
    "persistent_workers": True,
    "sampler": {"type": "InfiniteSampler", "shuffle": True},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "ann_file": "annotations/instances_train2017.json",
        "data_prefix": {"img": "train2017/"},
        "filter_cfg": {"filter_empty_gt": True},
        "pipeline": train_pipeline,
    },
}
val_dataloader = {
    "batch_size": 1,  # images of several sizes would be padded to the largest, and each would see its neighbours' size
    "num_workers": 2,
    "persistent_workers": True,
    "sampler": {"type": "DefaultSampler", "shuffle": False},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "ann_file": "annotations/instances_val2017.json",
        "data_prefix": {"img": "val2017/"},
        "test_mode": True,
        "pipeline": test_pipeline,
    },
}
test_dataloader = val_dataloader
val_evaluator = {
    "type": "CocoMetric",
    "ann_file": data_root + "annotations/instances_val2017.json",
    "metric": "bbox",
}
test_evaluator = val_evaluator
