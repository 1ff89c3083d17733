"""The Gaussian noise schedule of the boxes, and the DDIM steps that walk back along it.

A noise level is an index t in {0, ..., T-1}; t = -1 is clean data, where alpha_bar is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

MAX_BETA = 0.999


def cosine_alphas_cumprod(timesteps: int, s: float = 0.008) -> Tensor:
    """Cumulative signal power alpha_bar_t of the cosine schedule, float64 [T], decreasing in (0, 1).

    Nichol and Dhariwal (arXiv 2102.09672, eq. 17): alpha_bar_t = f(t+1)/f(0) with
    f(t) = cos^2((t/T + s)/(1 + s) pi/2), where a single step removes at most a fraction 0.999.

    Raises ValueError when `timesteps` is not positive.
    """
    if timesteps < 1:
        raise ValueError(f"DIFFUSION_TIMESTEPS: {timesteps} is no number of noise levels; give at least 1")
    x = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((x + s) / (1 + s) * (math.pi / 2)) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=MAX_BETA)
    return torch.cumprod(1 - betas, dim=0)


def diffusion_buffers(timesteps: int) -> dict[str, Tensor]:
    """The tables of DDPM (arXiv 2006.11239, sec. 2-3) under the names that a released DiffusionDet file uses.

    Each is float32 [T], computed in float64. The posterior variance at t = 0 is 0; its clipped logarithm
    uses the floor 1e-20.
    """
    ac = cosine_alphas_cumprod(timesteps)
    prev = torch.cat([torch.ones(1, dtype=torch.float64), ac[:-1]])
    alphas = ac / prev
    betas = 1 - alphas
    variance = betas * (1 - prev) / (1 - ac)
    tables = {
        "betas": betas,
        "alphas_cumprod": ac,
        "alphas_cumprod_prev": prev,
        "sqrt_alphas_cumprod": ac.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - ac).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - ac).log(),
        "sqrt_recip_alphas_cumprod": (1 / ac).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / ac - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * prev.sqrt() / (1 - ac),
        "posterior_mean_coef2": (1 - prev) * alphas.sqrt() / (1 - ac),
    }
    return {name: table.float() for name, table in tables.items()}


def ddim_times(steps: int, timesteps: int) -> list[tuple[int, int]]:
    """The (t, s) pairs of a sampler of `steps` steps, from noise to data: s < t, the last s is -1.

    The times are trunc(linspace(-1, T-1, steps+1)), taken with integers: a float32 linspace falls one short
    of an exact integer for a few step counts (26, 52, 60, ... of 1000), and by how much depends on the
    machine.

    Raises ValueError unless 1 <= steps <= timesteps.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"SAMPLE_STEP: {steps} steps do not fit {timesteps} noise levels; give 1 to {timesteps}")
    times = [i * timesteps // steps - 1 for i in range(steps, -1, -1)]
    return list(zip(times[:-1], times[1:], strict=True))


@dataclass(frozen=True)
class GaussianSchedule:
    """Adds and removes Gaussian noise: x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) noise.

    The tables are float32 [T] on one device; `GaussianSchedule.cosine(T)` makes them. Every method works on
    tensors [B, ...] and keeps their dtype.
    """

    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor

    @classmethod
    def cosine(cls, timesteps: int) -> GaussianSchedule:
        tables = diffusion_buffers(timesteps)
        return cls(**{f.name: tables[f.name] for f in fields(cls)})

    @property
    def timesteps(self) -> int:
        return self.alphas_cumprod.shape[0]

    def to(self, device: torch.device | str) -> GaussianSchedule:
        """The same schedule with its tables on `device`."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def q_sample(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_t given x_0 (DDPM eq. 4): x0, noise [B, ...]; t int64 [B] (one level an image) or an int."""
        return _at(self.sqrt_alphas_cumprod, t, x0) * x0 + _at(self.sqrt_one_minus_alphas_cumprod, t, x0) * noise

    def predict_noise(self, x_t: Tensor, t: Tensor | int, x0: Tensor) -> Tensor:
        """The noise that leads from x0 to x_t: the inverse of `q_sample`, for x_t, x0 [B, ...]."""
        scaled = _at(self.sqrt_recip_alphas_cumprod, t, x_t) * x_t
        return (scaled - x0) / _at(self.sqrt_recipm1_alphas_cumprod, t, x_t)

    def ddim_step(self, x_t: Tensor, x0: Tensor, t: int, s: int, eta: float, noise: Tensor | None) -> Tensor:
        """x_s from x_t and the predicted x_0 (DDIM, arXiv 2010.02502, eq. 12 and 16), for -1 <= s < t.

        sigma = eta sqrt((1 - ab_t/ab_s)(1 - ab_s)/(1 - ab_t)) and
        x_s = sqrt(ab_s) x_0 + sqrt(1 - ab_s - sigma^2) eps + sigma noise, where eps is `predict_noise`.
        eta = 0 is deterministic (`noise` is not read and may be None), eta = 1 is what DiffusionDet uses.
        s = -1 returns x0 itself. All of it in float32, from the float32 table.

        Raises ValueError for times out of order or out of range.
        """
        if not -1 <= s < t < self.timesteps:
            raise ValueError(f"DDIM step from t = {t} to s = {s} needs -1 <= s < t < {self.timesteps}")
        if s < 0:
            return x0
        a_t, a_s = self.alphas_cumprod[t], self.alphas_cumprod[s]
        sigma = eta * ((1 - a_t / a_s) * (1 - a_s) / (1 - a_t)).sqrt()
        direction = (1 - a_s - sigma**2).clamp(min=0).sqrt()
        x_s = a_s.sqrt() * x0 + direction * self.predict_noise(x_t, t, x0)
        if not eta:
            return x_s
        if noise is None:
            raise ValueError(f"DDIM step with eta = {eta} needs noise")
        return x_s + sigma * noise


def _at(table: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """table[t] shaped to broadcast over `like` [B, ...]: a scalar, or [B, 1, ..., 1]."""
    value = table[t].to(like.dtype)
    return value if value.dim() == 0 else value.view(-1, *[1] * (like.dim() - 1))
