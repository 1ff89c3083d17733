# Written by: python -m c2o_model.mmdet3.from_c2o configs/models/coco/diffusiondet_swin_b.yaml
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
        "type": "SwinTransformer",
        "embed_dims": 128,
        "depths": [2, 2, 18, 2],
        "num_heads": [4, 8, 16, 32],
        "window_size": 7,
        "mlp_ratio": 4,
        "out_indices": [0, 1, 2, 3],
        "drop_path_rate": 0.3,
        "with_cp": False,
    },
    "neck": {
        "type": "FPN",
        "in_channels": [128, 256, 512, 1024],
        "out_channels": 256,
        "num_outs": 5,
    },
    "first_level": 2,
    "c2o": {
        "MODEL": {
            "DiffusionDet": {
                "NUM_PROPOSALS": 500,
            },
            "ROI_HEADS": {
                "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            },
        },
    },
}
