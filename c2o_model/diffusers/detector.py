"""The detector as a model of Diffusers: its configuration holds the whole resolved configuration of C2O.

``save_pretrained`` writes ``config.json`` and ``diffusion_pytorch_model.safetensors``, from which the same model is
built again; nothing is unpickled. Called by the pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F

from c2o_model.checkpoint import load_weights
from c2o_model.config import ConfigError, config_from_dict, dump_resolved
from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.head import HeadOutput


class C2ODetector(ModelMixin, ConfigMixin):
    """:class:`c2o_model.modeling.detector.DiffusionDet`, as ``model``, in float32.

    Args:
        c2o: C2O's configuration, nested; keys that are left out have their defaults.

    Raises:
        ConfigError: a key is unknown or its value not allowed.
    """

    @register_to_config
    def __init__(self, c2o: Mapping[str, Any]) -> None:
        super().__init__()
        self._c2o = config_from_dict(c2o)
        self.model = DiffusionDet(self._c2o).eval()

    @classmethod
    def from_c2o(cls, cfg: CfgNode, checkpoint: str | Path | None = None) -> C2ODetector:
        """The detector of ``cfg``, with the weights of a C2O ``checkpoint`` (digest checked) or fresh ones."""
        detector = cls(c2o=yaml.safe_load(dump_resolved(cfg))).eval()
        if checkpoint is not None:
            load_weights(detector.model, Path(checkpoint))
        return detector

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, **kwargs: Any
    ) -> C2ODetector:
        """As ModelMixin's, from safetensors only, and always built whole.

        What it holds beside its weights (noise schedules, pixel statistics) is in no file, so ``low_cpu_mem_usage``
        has no effect here.

        Raises:
            ConfigError: another dtype than float32 is asked for.
        """
        for name in ("torch_dtype", "dtype"):
            if kwargs.get(name) not in (None, torch.float32):
                raise ConfigError(f"{name}: {kwargs[name]}, but the detector computes in float32; leave it out")
        kwargs |= {"use_safetensors": True, "low_cpu_mem_usage": False}
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    def c2o_config(self) -> CfgNode:
        """C2O's configuration, checked and frozen."""
        return self._c2o

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | int,
        features: Sequence[Tensor],
        whwh: Tensor,
        labels: Tensor | None = None,
    ) -> HeadOutput:
        """What the head predicts for noisy nodes: logits [S,B,N,K] and clean boxes [S,B,N,4] xyxy px of all stages.

        Args:
            sample: boxes [B,N,4] in signal space, of the box scheduler.
            timestep: noise level, an int or int64 [B].
            features: pyramid of the images, ``model.features(images)``.
            whwh: [B,4] image sizes in px.
            labels: states of the label scheduler, int64 [B,N] or [B,N,K+1]; None without LABEL_STATE.
        """
        model = self.model
        boxes = cxcywh_to_xyxy(decode(sample, model.settings.diffusion.snr_scale)) * whwh[:, None]
        times = torch.as_tensor(timestep, dtype=torch.int64, device=sample.device).expand(len(sample))
        process = model.label_process
        if labels is not None and isinstance(process, GaussianLabels):
            labels = process.seen(labels)
        elif labels is not None and not labels.is_floating_point():
            labels = F.one_hot(labels, model.settings.head.num_classes + 1).to(sample.dtype)
        return model.head(features, boxes, times, whwh, labels)
