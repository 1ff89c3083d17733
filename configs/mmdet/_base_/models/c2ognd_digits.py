# Written by: python -m c2o_model.mmdet3.from_c2o configs/models/digits/small.yaml
custom_imports = {"imports": ["c2o_model.mmdet3.detector"], "allow_failed_imports": False}
model = {
    "type": "C2OGND",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [127.5, 127.5, 127.5],
        "std": [64.0, 64.0, 64.0],
        "bgr_to_rgb": True,
        "pad_size_divisor": 16,
    },
    "backbone": {
        "type": "C2OSmallResNetFPN",
        "stem_channels": 48,
        "channels": [32, 64, 128],
        "blocks": [1, 1, 1],
        "norm": "FrozenBN",
        "out_channels": 64,
        "fpn_norm": "",
        "fuse_type": "sum",
    },
    "first_level": 2,
    "c2o": {
        "MODEL": {
            "DiffusionDet": {
                "DIM_DYNAMIC": 16,
                "DIM_FEEDFORWARD": 256,
                "HIDDEN_DIM": 64,
                "NHEADS": 4,
                "NUM_CLASSES": 10,
                "NUM_HEADS": 3,
                "NUM_PROPOSALS": 32,
                "NUM_REG": 1,
                "ROI_ALIGN_IMPL": "separable",
                "ROI_CANONICAL_LEVEL": 2,
                "ROI_CANONICAL_SIZE": 24.0,
                "SELF_ATTN_IMPL": "sdpa",
                "TEST_NUM_PROPOSALS": 48,
            },
            "ROI_HEADS": {
                "IN_FEATURES": ["p2", "p3", "p4"],
            },
            "ROI_BOX_HEAD": {
                "POOLER_RESOLUTION": 5,
            },
        },
    },
}
