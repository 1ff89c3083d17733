"""The Gaussian process of label vectors (LABEL_STATE without LABEL_D3PM) as a scheduler of Diffusers.

A sample is a noisy vector of K+1 components a node, ``unk`` last, in the boxes' signal space; see
:mod:`c2o_model.diffusion.gaussian_labels`, whose numbers these are.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from c2o_model.diffusers.box_scheduler import DDIMBoxSchedulerOutput, Generators
from c2o_model.diffusers.times import DescendingTimes
from c2o_model.diffusion.boxes import encode
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.schedules import GaussianSchedule


class GaussianLabelScheduler(DescendingTimes, SchedulerMixin, ConfigMixin):
    """DDIM over label vectors, from p(x_0).

    Args:
        num_classes: K. num_train_timesteps: T. snr_scale: of the signal. eta: of :meth:`step` where it is given none.
    """

    @register_to_config
    def __init__(
        self, num_classes: int = 80, num_train_timesteps: int = 1000, snr_scale: float = 2.0, eta: float = 1.0
    ) -> None:
        self._process = GaussianLabels(num_classes, GaussianSchedule.cosine(num_train_timesteps), snr_scale)
        self._begin(num_train_timesteps)

    def process(self, device: torch.device) -> GaussianLabels:
        """The process with its tables on ``device``."""
        if self._process.schedule.alphas_cumprod.device != device:
            self._process = self._process.to(device)
        return self._process

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Labels int64 [B,N] in 0..K as vectors [B,N,K+1] at ``timesteps`` int64 [B]; noise: normal, [B,N,K+1]."""
        device = original_samples.device
        return self.process(device).q_sample(original_samples, timesteps.to(device), noise.to(device))

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float | None = None,
        generator: Generators = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> DDIMBoxSchedulerOutput | tuple[Tensor, Tensor]:
        """The vectors at the next noise level, of those at ``timestep`` and p(x_0) ``model_output`` [B,N,K+1].

        ``pred_original_sample`` is the mean of the clean vector under p(x_0). The rest is as in
        :meth:`c2o_model.diffusers.box_scheduler.DDIMBoxScheduler.step`.
        """
        t, s = self.previous_timestep(timestep)
        eta = self.config.eta if eta is None else eta
        if model_output.shape != sample.shape:
            raise ValueError(
                f"model_output is {list(model_output.shape)}, but sample is {list(sample.shape)}: give p(x_0) over the "
                "K classes and background"
            )
        if eta and variance_noise is None:
            device = sample.device
            variance_noise = randn_tensor(tuple(sample.shape), generator=generator, device=device, dtype=sample.dtype)
        before = self.process(sample.device).step(sample, model_output, t, s, eta, variance_noise)
        clean = encode(model_output, self.config.snr_scale)
        if not return_dict:
            return before, clean
        return DDIMBoxSchedulerOutput(prev_sample=before, pred_original_sample=clean)
