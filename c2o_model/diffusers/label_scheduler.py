"""The discrete process of the labels (D3PM, arXiv 2107.03006) as a scheduler of Diffusers.

A sample is a label a node, 0..K-1 or ``unk`` = K, in one of two forms: hard states int64 [B,N], or a distribution over
them [B,N,K+1]. The numbers are those of :class:`c2o_model.diffusion.labels.LabelDiffusion`, bit for bit. Gaussian label
vectors have a scheduler of their own: :class:`c2o_model.diffusers.gaussian_label_scheduler.GaussianLabelScheduler`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from c2o_model.diffusers.times import DescendingTimes
from c2o_model.diffusion.labels import LabelDiffusion, keep_probabilities, sample_categorical
from c2o_model.diffusion.schedules import cosine_alphas_cumprod
from c2o_model.sampling.steps import draw_states


@dataclass
class D3PMLabelSchedulerOutput(BaseOutput):
    """``prev_sample``: the labels at the next noise level; ``pred_original_sample``: p(x_0) [B,N,K+1]."""

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class D3PMLabelScheduler(DescendingTimes, SchedulerMixin, ConfigMixin):
    """The reverse process of discrete labels, from p(x_0).

    Args:
        num_classes: K.
        num_train_timesteps: T.
        kernel: ``mask`` (labels are lost to ``unk``) or ``uniform`` (LABEL_D3PM_KERNEL).
        keep_schedule, keep_power, keep_min, keep_const: how long a label is kept (KEEP_PROB_*), see
            :func:`c2o_model.diffusion.labels.keep_probabilities`.
        use_distribution: :meth:`step` hands on probabilities; False draws hard states (LABEL_D3PM_USE_DISTRIBUTION).
    """

    @register_to_config
    def __init__(
        self,
        num_classes: int = 80,
        num_train_timesteps: int = 1000,
        kernel: str = "mask",
        keep_schedule: str = "sqrt_alphas_cumprod",
        keep_power: float = 1.0,
        keep_min: float = 0.0,
        keep_const: float = 1.0,
        use_distribution: bool = True,
    ) -> None:
        alphas = cosine_alphas_cumprod(num_train_timesteps)
        keep = keep_probabilities(keep_schedule, alphas, power=keep_power, minimum=keep_min, const=keep_const)
        self._process = LabelDiffusion(num_classes, kernel, keep)
        self._begin(num_train_timesteps)

    def process(self, device: torch.device) -> LabelDiffusion:
        """The process with its table on ``device``."""
        if self._process.keep.device != device:
            self._process = self._process.to(device)
        return self._process

    @property
    def unk(self) -> int:
        """K, the label that stands for "not known" and for "no object"."""
        return self._process.unk

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Hard labels int64 [B,N] at noise levels ``timesteps`` int64 [B].

        Raises:
            ValueError: ``noise`` is not uniform in [0, 1) [B,N]: a normal one would give wrong labels in silence.
        """
        device = original_samples.device
        if noise.shape != original_samples.shape or bool(((noise < 0) | (noise >= 1)).any()):
            raise ValueError(
                f"noise: labels need uniform numbers in [0, 1) of shape {list(original_samples.shape)}, as torch.rand "
                "makes them"
            )
        return self.process(device).q_sample(original_samples, timesteps.to(device), noise.to(device))

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> D3PMLabelSchedulerOutput | tuple[Tensor, Tensor]:
        """The labels at the next noise level (D3PM, eq. 3, averaged over p(x_0)).

        Args:
            model_output: p(x_0) [B,N,K+1], background last: :meth:`DiffusionDet.label_distribution` of the logits.
            timestep: one of ``timesteps``.
            sample: the labels there: int64 [B,N], or probabilities (or one-hot) [B,N,K+1].
            generator: draws hard states, if ``variance_noise`` is None; None for torch's own.
            variance_noise: uniform numbers in [0, 1) [B,N].

        Returns:
            :class:`D3PMLabelSchedulerOutput` or, with ``return_dict`` False, (prev_sample, pred_original_sample).
            ``prev_sample`` is a distribution [B,N,K+1]; with ``use_distribution`` False it has the sample's form.

        Raises:
            ValueError: for another timestep, or shapes that do not fit.
        """
        t, s = self.previous_timestep(timestep)
        hard = not sample.is_floating_point()
        states = self.config.num_classes + 1
        nodes = sample.shape if hard else sample.shape[:-1]
        if tuple(model_output.shape) != (*nodes, states) or not (hard or sample.shape[-1] == states):
            raise ValueError(
                f"model_output is {list(model_output.shape)} and sample {list(sample.shape)}: p(x_0) needs "
                f"[..., {states}] ({states - 1} classes and background), a sample [...] int64 or [..., {states}]"
            )
        before = self.process(sample.device).posterior(sample, model_output, t, s)
        if not self.config.use_distribution:
            if variance_noise is None:
                where = before.device if generator is None else generator.device
                variance_noise = torch.rand(tuple(nodes), generator=generator, device=where).to(before.device)
            drawn = sample_categorical if hard else draw_states
            before = drawn(before, variance_noise).to(sample.dtype)
        if not return_dict:
            return before, model_output
        return D3PMLabelSchedulerOutput(prev_sample=before, pred_original_sample=model_output)
