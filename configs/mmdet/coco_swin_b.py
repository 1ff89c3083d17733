# Swin-B-FPN on COCO 2017.
#   python -m c2o_model.mmdet3.train configs/mmdet/coco_swin_b.py
_base_ = [
    "_base_/models/c2ognd_coco_swin_b.py",
    "_base_/datasets/coco.py",
    "_base_/runtime.py",
    "_base_/schedules/coco.py",
]
custom_imports = {
    "imports": ["c2o_model.mmdet3.detector", "c2o_model.mmdet3.results"],
    "allow_failed_imports": False,
}
default_hooks = {"checkpoint": {"by_epoch": False, "interval": 5000}}
log_processor = {"by_epoch": False}
