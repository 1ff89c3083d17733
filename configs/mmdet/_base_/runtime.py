# Logging, checkpoints, and the hook that hands detections to C2O.
default_scope = "mmdet"
default_hooks = {
    "timer": {"type": "IterTimerHook"},
    "logger": {"type": "LoggerHook", "interval": 50},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 3},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
}
custom_hooks = [{"type": "C2OResults"}]
env_cfg = {
    "cudnn_benchmark": False,
    "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
    "dist_cfg": {"backend": "gloo"},
}
visualizer = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}], "name": "visualizer"}
log_processor = {"type": "LogProcessor", "window_size": 50, "by_epoch": True}
log_level = "INFO"
randomness = {"seed": 0, "deterministic": True}
load_from = None
resume = False
