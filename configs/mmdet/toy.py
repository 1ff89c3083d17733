# The small detector on the embedded set.
#   python -m c2o_model.mmdet3.train configs/mmdet/toy.py
_base_ = [
    "_base_/models/c2ognd_digits.py",
    "_base_/datasets/digits.py",
    "_base_/runtime.py",
    "_base_/schedules/digits.py",
]
custom_imports = {
    "imports": ["c2o_model.mmdet3.detector", "c2o_model.mmdet3.results"],
    "allow_failed_imports": False,
}
