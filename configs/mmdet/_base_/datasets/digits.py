# The embedded set. It is made by: python -m c2o_model.data.digits configs/data/digits.yaml data/digits
data_root = "data/digits/"
metainfo = {"classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]}
load = {"type": "LoadImageFromFile", "imdecode_backend": "pillow"}  # which C2O decodes with
pack = {"type": "PackDetInputs", "meta_keys": ["img_id", "img_path", "ori_shape", "img_shape", "scale_factor"]}
train_dataloader = {
    "batch_size": 8,
    "num_workers": 0,
    "sampler": {"type": "DefaultSampler", "shuffle": True},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "metainfo": metainfo,
        "ann_file": "train.json",
        "data_prefix": {"img": ""},
        "filter_cfg": {"filter_empty_gt": True},
        "pipeline": [load, {"type": "LoadAnnotations", "with_bbox": True}, pack],
    },
}
val_dataloader = {
    "batch_size": 8,
    "num_workers": 0,
    "sampler": {"type": "DefaultSampler", "shuffle": False},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "metainfo": metainfo,
        "ann_file": "val.json",
        "data_prefix": {"img": ""},
        "test_mode": True,
        "pipeline": [load, pack],
    },
}
test_dataloader = val_dataloader
val_evaluator = {"type": "CocoMetric", "ann_file": data_root + "val.json", "metric": "bbox"}
test_evaluator = val_evaluator
