# ResNet-50-FPN on Repro-10k (car, motorcycle, person of COCO).
#   python -m c2o_model.mmdet3.train configs/mmdet/repro_10k.py
_base_ = [
    "_base_/models/c2ognd_repro10k_r50.py",
    "_base_/datasets/repro10k.py",
    "_base_/runtime.py",
    "_base_/schedules/repro10k.py",
]
custom_imports = {
    "imports": ["c2o_model.mmdet3.detector", "c2o_model.mmdet3.results"],
    "allow_failed_imports": False,
}
default_hooks = {"checkpoint": {"by_epoch": False, "interval": 1000}}
log_processor = {"by_epoch": False}
