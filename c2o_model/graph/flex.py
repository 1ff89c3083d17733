"""SELF_ATTN_IMPL `flex`: torch's flex_attention, which computes the bias inside the kernel from each node's numbers.

On CUDA the kernel is compiled and never holds an N x N matrix of distances or IoUs (a k-nearest-neighbour mask, one
byte an edge, and the values of `mlp` it does read). On a CPU torch has no backward for it, and without the compiler it
is written out: it serves evaluation there, and says so (`flex:eager`). It has no dropout.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from c2o_model.graph.bias import EdgeBias
from c2o_model.graph.edges import DISTANCE_FLOOR, centres, scales, shared_scale

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class AttentionBackendError(RuntimeError):
    """The chosen attention kernel cannot serve the call."""


def flex_kernel(q: Tensor, k: Tensor, v: Tensor, bias: EdgeBias | Tensor | None) -> tuple[Tensor, str]:
    """Attention of q, k, v [M, H, N, d] with a bias, and the name of what ran, `flex:compiled` or `flex:eager`.

    Args:
        bias: added to the scaled scores; a tensor is [M or 1, H or 1, N, N].

    Raises:
        AttentionBackendError: a gradient is needed on a CPU.
    """
    score_mod = score_function(bias, q.shape)
    if q.is_cuda:
        return _compiled()(q, k, v, score_mod=score_mod), "flex:compiled"
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise AttentionBackendError(
            f"MODEL.DiffusionDet.SELF_ATTN_IMPL: 'flex' has no backward on {q.device.type}; train with 'torch' or "
            "'sdpa' there, or on CUDA (without gradient, under torch.no_grad, it works)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that this is written out: the name that we record says it
        return flex_attention(q, k, v, score_mod=score_mod), "flex:eager"


def score_function(bias: EdgeBias | Tensor | None, shape: torch.Size) -> ScoreMod | None:
    """The `score_mod` (score, m, h, i, j) -> score of a bias for q of `shape` [M, H, N, d]; None for none.

    Boxes count as constants here; the learnt scale [H] is read once a score, which is what its backward needs.
    """
    if bias is None:
        return None
    if isinstance(bias, Tensor):
        return _from_matrix(bias.expand(*shape[:3], shape[2]))
    if bias.kind == "none":
        plain: ScoreMod = lambda score, m, h, i, j: score  # noqa: E731
    elif bias.kind == "mlp":
        values = bias.values()
        assert values is not None
        plain = _from_matrix(values)
    elif bias.kind == "distance":
        plain = _distance(bias)
    else:
        plain = _iou(bias)
    if (keep := bias.keep) is None:
        return plain
    return lambda score, m, h, i, j: torch.where(keep[m, i, j], plain(score, m, h, i, j), -torch.inf)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    compiled: Callable[..., Tensor] = torch.compile(flex_attention)
    return compiled


def _from_matrix(matrix: Tensor) -> ScoreMod:
    return lambda score, m, h, i, j: score + matrix[m, h, i, j]


def _distance(bias: EdgeBias) -> ScoreMod:
    assert bias.scale is not None and bias.time is not None
    x, y = (v.contiguous() for v in centres(bias.boxes.detach()).unbind(-1))
    if bias.shared:
        size = shared_scale(bias.boxes.detach(), bias.image_whwh)[:, None].expand_as(x)
        floor = -torch.inf
    else:
        size, floor = scales(bias.boxes.detach(), bias.image_whwh), DISTANCE_FLOOR
    scale, time, factor = bias.scale, bias.time, -2 * bias.sigma**2

    def score_mod(score: Tensor, m: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        dx, dy = x[m, i] - x[m, j], y[m, i] - y[m, j]
        raw = (dx * dx + dy * dy) / (factor * size[m, i] * size[m, j])
        return score + time[m] * raw.clamp(min=floor) * scale[h]

    return score_mod


def _iou(bias: EdgeBias) -> ScoreMod:
    assert bias.scale is not None and bias.time is not None
    x0, y0, x1, y1 = (v.contiguous() for v in bias.boxes.detach().unbind(-1))
    area = (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)
    scale, time = bias.scale, bias.time

    def score_mod(score: Tensor, m: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        w = (torch.minimum(x1[m, i], x1[m, j]) - torch.maximum(x0[m, i], x0[m, j])).clamp(min=0)
        tall = (torch.minimum(y1[m, i], y1[m, j]) - torch.maximum(y0[m, i], y0[m, j])).clamp(min=0)
        inter = w * tall
        iou = inter / (area[m, i] + area[m, j] - inter).clamp(min=1e-7)
        return score + time[m] * torch.where(i == j, 0.0, iou) * scale[h]

    return score_mod
