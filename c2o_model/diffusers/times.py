"""The noise levels that a scheduler visits: those of :func:`c2o_model.diffusion.schedules.ddim_times`."""

from __future__ import annotations

import torch
from torch import Tensor

from c2o_model.diffusion.schedules import ddim_times


class DescendingTimes:
    """What the schedulers have in common: ``timesteps``, and the noise level s that follows a noise level t.

    A step is a function of its arguments and of the number of inference steps alone: schedulers keep no counter, so
    steps may be repeated, left out or run side by side. Of a subclass's configuration ``num_train_timesteps`` is read.
    """

    order = 1
    init_noise_sigma = 1.0
    timesteps: Tensor
    num_inference_steps: int | None

    def _begin(self, num_train_timesteps: int) -> None:
        self.num_inference_steps = None
        self._place(num_train_timesteps, num_train_timesteps, None)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose k inference steps: ``timesteps`` becomes int64 [k], from T-1 downwards.

        Raises:
            ValueError: unless 1 <= k <= T.
        """
        self._place(num_inference_steps, self.config.num_train_timesteps, device)  # type: ignore[attr-defined]
        self.num_inference_steps = num_inference_steps

    def _place(self, steps: int, levels: int, device: str | torch.device | None) -> None:
        pairs = ddim_times(steps, levels)
        self._next = dict(pairs)
        self.timesteps = torch.tensor([t for t, _ in pairs], dtype=torch.int64, device=device)

    def previous_timestep(self, timestep: int | Tensor) -> tuple[int, int]:
        """(t, s) as ints, where s < t is the level that a step from ``timestep`` leads to; -1 is clean data.

        Raises:
            ValueError: t is none of ``timesteps``.
        """
        t = int(timestep)
        if t not in self._next:
            raise ValueError(
                f"timestep {t} is none of the {len(self._next)} that set_timesteps has chosen; take one of .timesteps"
            )
        return t, self._next[t]

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """``sample`` itself: the head takes states as they are. For schedulers that are exchanged."""
        return sample

    def __len__(self) -> int:
        """T, the number of noise levels."""
        return int(self.config.num_train_timesteps)  # type: ignore[attr-defined]
