"""The Gaussian process of the boxes as a scheduler of Diffusers.

A sample is a set of boxes in the diffusion's signal space, (cx, cy, w, h) over the image's size scaled to
[-snr_scale, snr_scale], of any leading shape; :meth:`DDIMBoxScheduler.encode` makes it of pixels. The numbers are those
of :class:`c2o_model.diffusion.schedules.GaussianSchedule`, bit for bit. Source: DiffusionDet (arXiv 2211.09788).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from c2o_model.diffusers.times import DescendingTimes
from c2o_model.diffusion import boxes as signal
from c2o_model.diffusion.schedules import GaussianSchedule

Generators = torch.Generator | list[torch.Generator] | None


@dataclass
class DDIMBoxSchedulerOutput(BaseOutput):
    """``prev_sample``: the boxes at the next noise level; ``pred_original_sample``: the clean ones. Signal space."""

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class DDIMBoxScheduler(DescendingTimes, SchedulerMixin, ConfigMixin):
    """DDIM over boxes, from the prediction of the clean ones.

    Args:
        num_train_timesteps: T, the noise levels of the cosine schedule (DIFFUSION_TIMESTEPS).
        snr_scale: of the signal (SNR_SCALE).
        eta: of :meth:`step` where it is given none (SAMPLE_ETA); 1 is DiffusionDet's, 0 is deterministic.
        prediction_type: ``sample``: the network predicts clean boxes. There is no other.
        clip_sample: clamp predicted boxes to [-snr_scale, snr_scale].
        noise_sigmas: the noise's standard deviation in (cx, cy, w, h) (ANISO_NOISE); None for 1.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        snr_scale: float = 2.0,
        eta: float = 1.0,
        prediction_type: str = "sample",
        clip_sample: bool = True,
        noise_sigmas: Sequence[float] | None = None,
    ) -> None:
        if prediction_type != "sample":
            raise ValueError(f"prediction_type: {prediction_type!r}, but the head predicts clean boxes; give 'sample'")
        if noise_sigmas is not None and len(noise_sigmas) != 4:
            raise ValueError(f"noise_sigmas: {list(noise_sigmas)} are not four; give those of cx, cy, w, h")
        self._schedule = GaussianSchedule.cosine(num_train_timesteps)
        self._begin(num_train_timesteps)

    def schedule(self, device: torch.device) -> GaussianSchedule:
        """The process with its tables on ``device``."""
        if self._schedule.alphas_cumprod.device != device:
            self._schedule = self._schedule.to(device)
        return self._schedule

    def encode(self, boxes: Tensor, whwh: Tensor) -> Tensor:
        """Boxes [B,N,4] xyxy px of images of ``whwh`` [B,4] px -> signal space, not clamped."""
        return signal.encode(signal.xyxy_to_cxcywh(boxes / whwh[:, None]), self.config.snr_scale)

    def decode(self, sample: Tensor, whwh: Tensor) -> Tensor:
        """The inverse of :meth:`encode`, after clamping to the signal's range, as the network sees boxes."""
        return signal.cxcywh_to_xyxy(signal.decode(sample, self.config.snr_scale)) * whwh[:, None]

    def shape_noise(self, noise: Tensor) -> Tensor:
        """Standard normal [..., 4] times ``noise_sigmas``."""
        sigmas = self.config.noise_sigmas
        return noise if sigmas is None else noise * noise.new_tensor(list(sigmas))

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean boxes [B,...,4] at noise levels ``timesteps`` int64 [B]; ``noise`` is standard normal."""
        schedule = self.schedule(original_samples.device)
        noise = self.shape_noise(noise.to(original_samples))
        return schedule.q_sample(original_samples, timesteps.to(original_samples.device), noise)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float | None = None,
        generator: Generators = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
        *,
        noise_is_shaped: bool = False,
    ) -> DDIMBoxSchedulerOutput | tuple[Tensor, Tensor]:
        """The boxes at the next noise level (DDIM, arXiv 2010.02502, eq. 12 and 16).

        Args:
            model_output: the predicted clean boxes; sample: the boxes at ``timestep``. Both [B,N,4] in signal space.
            timestep: one of ``timesteps``.
            eta: default that of the configuration.
            generator: draws the noise that eta > 0 needs, if ``variance_noise`` is None; None for torch's own.
            variance_noise: standard normal numbers of the sample's shape.
            noise_is_shaped: ``variance_noise`` has been multiplied by ``noise_sigmas`` already.

        Returns:
            :class:`DDIMBoxSchedulerOutput`, or (prev_sample, pred_original_sample) where ``return_dict`` is False.

        Raises:
            ValueError: for another timestep, or a prediction of another shape.
        """
        t, s = self.previous_timestep(timestep)
        eta = self.config.eta if eta is None else eta
        if model_output.shape != sample.shape:
            raise ValueError(
                f"model_output is {list(model_output.shape)}, but sample is {list(sample.shape)}: give the clean boxes "
                "of the same nodes"
            )
        scale = self.config.snr_scale
        clean = model_output.clamp(-scale, scale) if self.config.clip_sample else model_output
        if eta and variance_noise is None:
            device = sample.device
            variance_noise = randn_tensor(tuple(sample.shape), generator=generator, device=device, dtype=sample.dtype)
            noise_is_shaped = False
        if variance_noise is not None and not noise_is_shaped:
            variance_noise = self.shape_noise(variance_noise)
        before = self.schedule(sample.device).ddim_step(sample, clean, t, s, eta, variance_noise)
        if not return_dict:
            return before, clean
        return DDIMBoxSchedulerOutput(prev_sample=before, pred_original_sample=clean)
