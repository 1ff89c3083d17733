"""AdamW with per-module learning rates and a full-model gradient clip, from a configuration.

Called by the training loop. The schedule is Detectron2's own (``SOLVER.LR_SCHEDULER_NAME``).
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

# Modules whose learning rate is multiplied, and the key that holds the factor.
LR_KEYS = {
    "head.geo_feat.": "GEO_FEAT_LR_MULT",
    "head.geo_bias.": "GEO_BIAS_LR_MULT",
    "head.quality_head.": "QUALITY_LR_MULT",
    "head.label_embedding.": "LABEL_STATE_LR_MULT",
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over the parameters that need a gradient, one group a (learning rate, weight decay).

    Norm layers and biases follow ``SOLVER.WEIGHT_DECAY_NORM`` and ``WEIGHT_DECAY_BIAS`` as in Detectron2 (None: as
    weights).
    """
    solver = cfg.SOLVER
    norms = {
        f"{module_name}.{name}"
        for module_name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = solver.BASE_LR * _multiplier(cfg, name)
        decay = solver.WEIGHT_DECAY
        if name in norms:
            decay = solver.WEIGHT_DECAY_NORM
        elif name.endswith(".bias") and solver.WEIGHT_DECAY_BIAS is not None:
            decay = solver.WEIGHT_DECAY_BIAS
        groups.setdefault((rate, decay), []).append(parameter)
    parameters: list[dict[str, Any]] = [
        {"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()
    ]
    return torch.optim.AdamW(parameters, lr=solver.BASE_LR, fused=True)


def clip_gradients(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> float:
    """Scale all gradients together to ``SOLVER.CLIP_GRADIENTS.CLIP_VALUE`` (2-norm). Returns the norm before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    limit = cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE if cfg.SOLVER.CLIP_GRADIENTS.ENABLED else float("inf")
    return float(nn.utils.clip_grad_norm_(parameters, limit))


def _multiplier(cfg: CfgNode, name: str) -> float:
    if name.startswith("backbone."):
        return float(cfg.SOLVER.BACKBONE_MULTIPLIER)
    for prefix, key in LR_KEYS.items():
        if name.startswith(prefix):
            return float(cfg.MODEL.DiffusionDet[key])
    return 1.0
