# Written by: python -m c2o_model.mmdet3.from_c2o configs/models/repro10k/diffusiondet_r50.yaml
custom_imports = {"imports": ["c2o_model.mmdet3.detector"], "allow_failed_imports": False}
model = {
    "type": "C2OGND",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_size_divisor": 32,
    },
    "backbone": {
        "type": "ResNet",
        "depth": 50,
        "stem_channels": 64,
        "base_channels": 64,
        "num_stages": 4,
        "strides": [1, 2, 2, 2],
        "dilations": [1, 1, 1, 1],
        "out_indices": [0, 1, 2, 3],
        "style": "pytorch",
        "frozen_stages": 1,
        "norm_cfg": {
            "type": "BN",
            "requires_grad": False,
        },
        "norm_eval": True,
        "zero_init_residual": False,
    },
    "neck": {
        "type": "FPN",
        "in_channels": [256, 512, 1024, 2048],
        "out_channels": 256,
        "num_outs": 5,
    },
    "first_level": 2,
    "c2o": {
        "MODEL": {
            "DiffusionDet": {
                "NUM_CLASSES": 3,
            },
            "ROI_HEADS": {
                "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            },
        },
    },
}
