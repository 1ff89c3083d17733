"""Discrete diffusion of node labels (D3PM, arXiv 2107.03006).

A label state is an int in {0, ..., K}: K classes and `unk` = K, which also stands for "no object". Noise
level t is in {0, ..., T-1}; the keep probability ab_t is the chance that a label is still its own at t, and
ab_{-1} = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

KEEP_SCHEDULES = ("sqrt_alphas_cumprod", "alphas_cumprod", "linear", "constant")
KERNELS = ("mask", "uniform")


def keep_probabilities(
    schedule: str, alphas_cumprod: Tensor, *, power: float = 1.0, minimum: float = 0.0, const: float = 1.0
) -> Tensor:
    """The keep probability ab_t of each noise level, float64 [T] in [0, 1], never increasing.

    Args:
        schedule: `sqrt_alphas_cumprod` and `alphas_cumprod` follow the boxes' signal amplitude and power,
            `linear` is 1 - (t+1)/T, `constant` is `const` at every level.
        alphas_cumprod: float64 [T] of the boxes.
        power: the first three are raised to this power, > 0,
        minimum: then raised to at least this.
        const: the value of `constant`, in [0, 1].

    Raises ValueError that names the key for an unknown schedule or a value out of range.
    """
    if power <= 0:
        raise ValueError(f"KEEP_PROB_POWER: {power} must be above 0")
    for key, value in (("MIN", minimum), ("CONST", const)):
        if not 0 <= value <= 1:
            raise ValueError(f"KEEP_PROB_{key}: {value} is no probability; give 0 to 1")
    levels = alphas_cumprod.double()
    if schedule == "constant":
        return torch.full_like(levels, const)
    if schedule == "sqrt_alphas_cumprod":
        keep = levels.sqrt()
    elif schedule == "alphas_cumprod":
        keep = levels
    elif schedule == "linear":
        steps = levels.shape[0]
        keep = 1 - torch.arange(1, steps + 1, dtype=torch.float64, device=levels.device) / steps
    else:
        raise ValueError(f"KEEP_PROB_SCHEDULE: {schedule!r} is unknown; choose one of {', '.join(KEEP_SCHEDULES)}")
    return keep.pow(power).clamp(min=minimum)


def x0_distribution(logits: Tensor) -> Tensor:
    """p(x_0) over K classes and background, [..., K+1], from the K sigmoid logits [..., K] of the detector.

    The head scores each class by its own sigmoid. Read those as K independent detectors, and condition on
    at most one of them firing: "only k" has the weight odds_k = exp(logit_k) and "none" the weight 1, so
    p = softmax([logits, 0]). Index K (unk) is background.
    """
    return F.pad(logits, (0, 1)).softmax(dim=-1)


def sample_categorical(probs: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF draw: probs [..., S] (any positive scale), u uniform in [0, 1) [...] -> int64 [...].

    A state of probability zero is never drawn.
    """
    cdf = probs.double().cumsum(dim=-1)  # float64: u * total stays below total for every float32 u < 1
    return (u.double()[..., None] * cdf[..., -1:] >= cdf[..., :-1]).sum(dim=-1)


@dataclass(frozen=True)
class LabelDiffusion:
    """Forward process and exact posterior of the labels.

    Args:
        num_classes: K.
        kernel: `mask` (absorbing): q(c_t|c_0) = ab_t [c_0] + (1 - ab_t) [unk];
            `uniform`: q(c_t|c_0) = ab_t [c_0] + (1 - ab_t)/(K+1).
        keep: ab_t, float64 [T], in [0, 1] and never increasing.
    """

    num_classes: int
    kernel: str
    keep: Tensor
    _levels: tuple[float, ...] = field(init=False, repr=False)
    _table: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"LABEL_D3PM_KERNEL: {self.kernel!r} is unknown; choose one of {', '.join(KERNELS)}")
        object.__setattr__(self, "_levels", tuple(self.keep.double().tolist()))
        object.__setattr__(self, "_table", self.keep.float())

    @property
    def unk(self) -> int:
        return self.num_classes

    @property
    def timesteps(self) -> int:
        return len(self._levels)

    def to(self, device: torch.device | str) -> LabelDiffusion:
        """The same process with its table on `device`."""
        return LabelDiffusion(self.num_classes, self.kernel, self.keep.to(device))

    def keep_at(self, t: int) -> float:
        """ab_t; 1 at t = -1. Raises ValueError out of range."""
        if not -1 <= t < self.timesteps:
            raise ValueError(f"noise level {t} is outside -1..{self.timesteps - 1}")
        return 1.0 if t < 0 else self._levels[t]

    def transition(self, t: int) -> Tensor:
        """One step Q_t, float64 [K+1, K+1]: row c_{t-1}, column c_t (D3PM sec. 3.1)."""
        return self._matrix(self._keep_between(t - 1, t))

    def cumulative(self, t: int) -> Tensor:
        """Q_0 Q_1 ... Q_t, float64 [K+1, K+1]: row c_0, column c_t; the identity at t = -1."""
        return self._matrix(self.keep_at(t))

    def q_probs(self, c0: Tensor, t: Tensor) -> Tensor:
        """q(c_t|c_0), float32 [B, N, K+1], for c0 int64 [B, N] and t int64 [B]."""
        keep = self._table[t][:, None, None]
        onehot = F.one_hot(c0, self.num_classes + 1).float()
        return keep * onehot + (1 - keep) * self._stationary(c0.device)

    def q_sample(self, c0: Tensor, t: Tensor, u: Tensor) -> Tensor:
        """A hard c_t, int64 [B, N], for c0 int64 [B, N], t int64 [B] and u uniform in [0, 1) [B, N].

        u below ab_t keeps the label; for `uniform` the rest of [ab_t, 1) is cut into K+1 equal parts.
        """
        keep = self._table[t][:, None]
        if self.kernel == "mask":
            noise = torch.full_like(c0, self.unk)
        else:
            states = self.num_classes + 1
            rest = (u - keep) / (1 - keep).clamp(min=torch.finfo(torch.float32).tiny)
            noise = (rest * states).long().clamp(0, states - 1)
        return torch.where(u < keep, c0, noise)

    def posterior(self, c_t: Tensor, x0_probs: Tensor, t: int, s: int) -> Tensor:
        """q(c_s|c_t, x_0) averaged over p(x_0), for any -1 <= s < t; at s = -1 it is p(x_0) given the
        state's support.

        q(c_s|c_t, c_0) = q(c_t|c_s) q(c_s|c_0) / q(c_t|c_0) (D3PM eq. 3, for a jump of more than one
        level). The average runs over those c_0 that can lead to c_t; where none can, the state stays.
        With the `mask` kernel: a label stays; unk becomes x_0 with probability (ab_s - ab_t)/(1 - ab_t).

        Args:
            c_t: the states, int64 [...], or a distribution over them, float [..., K+1].
            x0_probs: p(x_0), [..., K+1] summing to 1; index K is background (see `x0_distribution`).
            t, s: noise levels.

        Returns: probabilities [..., K+1]. Raises ValueError for levels out of order.
        """
        if s >= t:
            raise ValueError(f"posterior from t = {t} to s = {s} needs s < t")
        state = c_t if c_t.is_floating_point() else F.one_hot(c_t, self.num_classes + 1).to(x0_probs.dtype)
        if self.kernel == "mask":
            return self._posterior_mask(state, x0_probs, t, s)
        return self._posterior_uniform(state, x0_probs, t, s)

    def _posterior_mask(self, state: Tensor, x0: Tensor, t: int, s: int) -> Tensor:
        ab_t, ab_s = self.keep_at(t), self.keep_at(s)
        reveal = (ab_s - ab_t) / (1 - ab_t) if ab_t < 1 else 0.0
        # The share of unk is split between x_0 and unk; what is a label already stays.
        unk = state[..., -1:]
        settled = torch.cat([state[..., :-1], (1 - reveal) * unk], dim=-1)
        return settled + reveal * unk * x0

    def _posterior_uniform(self, state: Tensor, x0: Tensor, t: int, s: int) -> Tensor:
        states = self.num_classes + 1
        ab_t, ab_s = self.keep_at(t), self.keep_at(s)
        if ab_t == 1.0:
            return state  # nothing is noised up to t, so c_s = c_t
        keep, kept = self._keep_between(s, t), ab_s
        jump, blur = (1 - keep) / states, (1 - ab_s) / states
        other = (1 - ab_t) / states  # q(c_t|c_0) for c_0 != c_t
        same = ab_t + other  # and for c_0 = c_t
        # weight(c_t, c_0) = p(c_0)/q(c_t|c_0) takes two values, so every sum over c_0 and over c_t is O(K):
        on, off = x0 / same, x0 / other
        total = (1 - x0) / other + on  # sum over c_0, by c_t
        stay = keep * state * (kept * on + blur * total)
        mean_total = (state * total).sum(dim=-1, keepdim=True)
        leave = jump * (kept * (off * (1 - state) + on * state) + blur * mean_total)
        return stay + leave

    def _keep_between(self, s: int, t: int) -> float:
        """ab_t / ab_s. Where all is noise at s already nothing more can be lost: 1."""
        before = self.keep_at(s)
        return self.keep_at(t) / before if before > 0 else 1.0

    def _matrix(self, keep: float) -> Tensor:
        noise = self._stationary(self.keep.device, torch.float64)
        eye = torch.eye(self.num_classes + 1, dtype=torch.float64, device=self.keep.device)
        return keep * eye + (1 - keep) * noise

    def _stationary(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        """What a label turns into when it is lost: [K+1], all on unk or all equal."""
        states = self.num_classes + 1
        if self.kernel == "uniform":
            return torch.full((states,), 1 / states, dtype=dtype, device=device)
        return F.one_hot(torch.tensor(self.unk, device=device), states).to(dtype)
