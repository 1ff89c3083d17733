# AdamW with two steps down, as configs/models/coco/base.yaml has it. Iterations are of 16 images, on however many GPUs:
# set train_dataloader.batch_size to 16 / GPUs.
iterations = 450000
optim_wrapper = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 0.000025, "weight_decay": 0.0001},
    "paramwise_cfg": {"norm_decay_mult": 0.0},
    "clip_grad": {"max_norm": 1.0, "norm_type": 2},
}
param_scheduler = [
    {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 1000},
    {"type": "MultiStepLR", "milestones": [350000, 420000], "gamma": 0.1, "by_epoch": False},
]
train_cfg = {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": 5000}
val_cfg = {"type": "ValLoop"}
test_cfg = {"type": "TestLoop"}
