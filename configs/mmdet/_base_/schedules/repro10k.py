# COCO's schedule in epochs (64) over 10,000 images, as configs/models/repro10k/diffusiondet_r50.yaml has it.
_base_ = "coco.py"
iterations = 40000
param_scheduler = [
    {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 1000},
    {"type": "MultiStepLR", "milestones": [30000, 36000], "gamma": 0.1, "by_epoch": False},
]
train_cfg = {"max_iters": iterations, "val_interval": 1000}
