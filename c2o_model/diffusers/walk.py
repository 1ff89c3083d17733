"""The sampler's way from one noise level to the next, taken by schedulers of Diffusers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from c2o_model.diffusers.box_scheduler import DDIMBoxScheduler
from c2o_model.diffusers.gaussian_label_scheduler import GaussianLabelScheduler
from c2o_model.diffusers.label_scheduler import D3PMLabelScheduler
from c2o_model.sampling.noise import StepNoise

LabelScheduler = D3PMLabelScheduler | GaussianLabelScheduler


@dataclass(frozen=True)
class ScheduledWalk:
    """A :class:`c2o_model.sampling.steps.Walk` by two schedulers whose timesteps are set."""

    box_scheduler: DDIMBoxScheduler
    label_scheduler: LabelScheduler | None

    def boxes(self, x: Tensor, x0: Tensor, t: int, s: int, eta: float, noise: Tensor | None) -> Tensor:
        """As ``Walk.boxes``; the sampler's noise has ANISO_NOISE in it."""
        assert self.box_scheduler.previous_timestep(t) == (t, s)
        step = self.box_scheduler.step
        return step(x0, t, x, eta=eta, variance_noise=noise, return_dict=False, noise_is_shaped=True)[0]

    def labels(
        self, labels: Tensor, expected: Tensor, t: int, s: int, eta: float, noise: StepNoise | None, fuzz: Tensor | None
    ) -> Tensor:
        """As ``Walk.labels``."""
        scheduler = self.label_scheduler
        assert scheduler is not None and scheduler.previous_timestep(t) == (t, s)
        if isinstance(scheduler, GaussianLabelScheduler):
            return scheduler.step(expected, t, labels, eta=eta, variance_noise=fuzz, return_dict=False)[0]
        uniform = None if noise is None else noise.label
        return scheduler.step(expected, t, labels, variance_noise=uniform, return_dict=False)[0]
