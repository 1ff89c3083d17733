# Repro-10k: car, motorcycle and person of COCO, whose images stay where they are. The annotations are made by:
#   python -m c2o_model.data.build_repro10k data/repro10k_annotations
_base_ = "coco.py"
metainfo = {"classes": ["car", "motorcycle", "person"]}
annotations = "data/repro10k_annotations/"
of_train = {"ann_file": annotations + "train.json", "data_prefix": {"img": "datasets/coco/train2017/"}}
of_val = {"ann_file": annotations + "val.json", "data_prefix": {"img": "datasets/coco/val2017/"}}
train_dataloader = {"dataset": {"data_root": "", "metainfo": metainfo, **of_train}}
val_dataloader = {"dataset": {"data_root": "", "metainfo": metainfo, **of_val}}
test_dataloader = val_dataloader
val_evaluator = {"ann_file": of_val["ann_file"]}
test_evaluator = val_evaluator
