# AdamW, a short warm-up and half a cosine, as configs/models/digits/small.yaml has them.
max_epochs = 6
optim_wrapper = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 0.002, "weight_decay": 0.0001},
    "paramwise_cfg": {"norm_decay_mult": 0.0},
    "clip_grad": {"max_norm": 1.0, "norm_type": 2},
}
param_scheduler = [
    {"type": "LinearLR", "start_factor": 0.05, "by_epoch": False, "begin": 0, "end": 50},
    {"type": "CosineAnnealingLR", "T_max": max_epochs, "by_epoch": True, "convert_to_iter_based": True},
]
train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": max_epochs, "val_interval": 1}
val_cfg = {"type": "ValLoop"}
test_cfg = {"type": "TestLoop"}
