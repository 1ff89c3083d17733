# The small detector on the embedded set: configs/models/digits/baseline.yaml without its average of weights. The
# backbone is pretrained and frozen; its file is made by
#   python -m c2o_model.mmdet3.convert to-mmdet results/step1_5seed/train/backbone/seed0/model.safetensors \
#       runs/mmdet/backbone.pth --config-file configs/models/digits/small.yaml
#   python -m c2o_model.mmdet3.train configs/mmdet/toy.py
_base_ = [
    "_base_/models/c2ognd_digits_frozen.py",
    "_base_/datasets/digits.py",
    "_base_/runtime.py",
    "_base_/schedules/digits.py",
]
custom_imports = {
    "imports": ["c2o_model.mmdet3.detector", "c2o_model.mmdet3.results"],
    "allow_failed_imports": False,
}
load_from = "runs/mmdet/backbone.pth"
