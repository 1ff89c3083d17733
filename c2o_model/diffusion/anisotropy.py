"""ANISO_NOISE: Gaussian noise with its own standard deviation for centre, width and height.

The forward process becomes x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) diag(sigma) noise, so every noise that sampling
draws (start, DDIM's eta, renewal) is scaled alike; the rest of DDIM stays, because the noise that it predicts carries
sigma already.
Called where noise is drawn: training nodes, sampler, distillation. Source: model.md, "Losses with quality".
"""

from __future__ import annotations

from torch import Tensor

from c2o_model.settings import AnisoSettings


def shape_noise(noise: Tensor, settings: AnisoSettings) -> Tensor:
    """Standard normal [..., 4], (cx, cy, w, h), scaled by (XY, XY, W, H); itself where the switch is off."""
    if not settings.aniso_noise:
        return noise
    xy = settings.aniso_noise_sigma_xy
    return noise * noise.new_tensor([xy, xy, settings.aniso_noise_sigma_w, settings.aniso_noise_sigma_h])
