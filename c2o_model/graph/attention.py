"""Self-attention among the nodes, with a choice of kernel that is recorded and never silently swapped.

The kernel is picked with MODEL.DiffusionDet.SELF_ATTN_IMPL (`torch`, `sdpa`, `flex`) and SELF_ATTN_SDPA_BACKEND
(`auto`, `flash`, `mem_efficient`, `math`). All give the same numbers to 1e-5 in float32.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from c2o_model.graph.bias import LOW_RANK_WIDTH, EdgeBias
from c2o_model.graph.flex import AttentionBackendError, flex_kernel

IMPLS = ("torch", "sdpa", "flex")
SDPA_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "mem_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
BIAS_BACKENDS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_BACKEND_NAMES = {int(backend.value): name for name, backend in SDPA_BACKENDS.items()} | {
    int(SDPBackend.CUDNN_ATTENTION.value): "cudnn"
}


class NodeAttention(nn.MultiheadAttention):
    """Multi-head attention over the nodes of each image (arXiv 1706.03762, sec. 3.2), batch first.

    Parameters and state-dict names are those of nn.MultiheadAttention (in_proj_weight, in_proj_bias,
    out_proj.weight, out_proj.bias), so a DiffusionDet checkpoint loads into it.

    Args:
        dim: C, divisible by `heads`.
        heads: H.
        dropout: on the attention weights, in training.
        impl: `torch` = matmul, softmax, matmul as nn.MultiheadAttention with weights does; `sdpa` = torch's
            fused scaled_dot_product_attention; `flex` = torch's flex_attention, which has no dropout.
        sdpa_backend: `auto` lets torch pick; another name pins that kernel, and a call that it cannot serve
            raises AttentionBackendError.

    Attributes:
        last_kernel: which kernel served the last call: "torch", "sdpa:NAME", "flex:compiled" or "flex:eager".
        last_bias: how it got the bias: "" (none), "matrix", "low_rank" (appended to queries and keys) or
            "score_mod" (computed inside the kernel).
        keep_scores: whether to keep the last call's queries, keys and bias in `kept`, for the topology loss.
    """

    def __init__(
        self, dim: int, heads: int, *, dropout: float = 0.0, impl: str = "torch", sdpa_backend: str = "auto"
    ) -> None:
        super().__init__(dim, heads, dropout=dropout, batch_first=True)
        if impl not in IMPLS:
            raise ValueError(f"SELF_ATTN_IMPL: {impl!r} is unknown; choose one of {', '.join(IMPLS)}")
        if impl == "flex" and dropout > 0:
            raise ValueError(f"SELF_ATTN_IMPL: 'flex' has no dropout (DROPOUT {dropout:g}); use 'torch' or 'sdpa'")
        if sdpa_backend != "auto" and sdpa_backend not in SDPA_BACKENDS:
            raise ValueError(
                f"SELF_ATTN_SDPA_BACKEND: {sdpa_backend!r} is unknown; choose one of auto, {', '.join(SDPA_BACKENDS)}"
            )
        self.impl, self.sdpa_backend = impl, sdpa_backend
        self.last_kernel = self.last_bias = ""
        self.keep_scores = False
        self.kept: tuple[Tensor, Tensor, EdgeBias | None] | None = None

    def forward(  # type: ignore[override]  # a narrower call than nn.MultiheadAttention's, for one use
        self,
        x: Tensor,
        *,
        q_pos: Tensor | None = None,
        k_pos: Tensor | None = None,
        bias: Tensor | EdgeBias | None = None,
        key_mask: Tensor | None = None,
    ) -> Tensor:
        """x [M, N, C] -> [M, N, C].

        Args:
            q_pos, k_pos: [M, N, C], added to the input of the queries and of the keys, not of the values.
            bias: added to the scaled scores, [M, H, N, N] or [H, N, N]; -inf cuts an edge. Or the recipe for one.
            key_mask: bool [M, N], False for padding, at which no other node looks.
        """
        q, k, v = self._project(x, q_pos, k_pos)
        if key_mask is not None:
            bias = _without_padding(bias, key_mask)
        if isinstance(bias, Tensor) and bias.dim() == 3:
            bias = bias[None]
        if self.keep_scores:
            self.kept = (q, k, bias if isinstance(bias, EdgeBias) else None)
        dropout = self.dropout if self.training else 0.0
        self.last_bias = "" if bias is None else "matrix"
        if self.impl == "flex":
            mixed, self.last_kernel = flex_kernel(q, k, v, bias)
            self.last_bias = "score_mod" if bias is not None else ""
        elif self.impl == "sdpa" and isinstance(bias, EdgeBias) and bias.is_low_rank:
            mixed, kernel = low_rank_attention(q, k, v, bias, dropout, self.sdpa_backend)
            self.last_kernel, self.last_bias = f"sdpa:{kernel}", "low_rank"
        else:
            matrix = bias.dense() if isinstance(bias, EdgeBias) else bias
            matrix = None if matrix is None else matrix.to(q.dtype)
            if self.impl == "torch":
                mixed, self.last_kernel = plain_attention(q, k, v, matrix, dropout), "torch"
            else:
                mixed, kernel = sdpa_attention(q, k, v, matrix, dropout, self.sdpa_backend)
                self.last_kernel = f"sdpa:{kernel}"
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _project(self, x: Tensor, q_pos: Tensor | None, k_pos: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each [M, H, N, C/H], by as few matrix products as the inputs allow."""
        dim = self.embed_dim
        parts: tuple[Tensor, ...]
        if q_pos is None and k_pos is None:
            parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        elif q_pos is k_pos and q_pos is not None:
            qk = F.linear(x + q_pos, self.in_proj_weight[: 2 * dim], self.in_proj_bias[: 2 * dim])
            parts = (*qk.chunk(2, dim=-1), self._linear(x, 2))
        else:
            query = x if q_pos is None else x + q_pos
            key = x if k_pos is None else x + k_pos
            parts = (self._linear(query, 0), self._linear(key, 1), self._linear(x, 2))
        heads = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = (p.reshape(heads).transpose(1, 2) for p in parts)
        return q, k, v

    def _linear(self, x: Tensor, part: int) -> Tensor:
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, written out; q, k, v [M, H, N, d], bias [M or 1, H, N, N]."""
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(dim=-1)
    if dropout > 0:
        weights = F.dropout(weights, dropout)
    return weights @ v


def low_rank_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: EdgeBias, dropout: float = 0.0, backend: str = "auto"
) -> tuple[Tensor, str]:
    """`sdpa_attention` with a low-rank bias: a few more columns in queries and keys, and no matrix at all.

    The values get as many columns of zeros, because flash wants one width for all three.
    """
    width = q.shape[-1]
    query, key = bias.low_rank(q.dtype, width**0.5)
    q, k = torch.cat([q, query], dim=-1), torch.cat([k, key], dim=-1)
    out, kernel = sdpa_attention(q, k, F.pad(v, (0, LOW_RANK_WIDTH)), None, dropout, backend, scale=width**-0.5)
    return out[..., :width], kernel


def sdpa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    dropout: float = 0.0,
    backend: str = "auto",
    scale: float | None = None,
) -> tuple[Tensor, str]:
    """The same through torch's scaled_dot_product_attention; also returns the name of the kernel that ran.

    `auto` is torch's own choice, but for a bias on CUDA or one that needs a gradient: there it is pinned to
    mem_efficient, else math, which are the two that serve it. `scale` replaces 1 / sqrt(d).

    Raises AttentionBackendError when `backend` is not `auto` and cannot serve the call: mem_efficient does
    not exist on a CPU; flash refuses a bias that needs a gradient, dropout on a CPU, and on CUDA any bias
    and float32.
    """
    if backend == "auto":
        pinned = bias is not None and (q.is_cuda or bias.requires_grad)
        with sdpa_kernel(BIAS_BACKENDS) if pinned else nullcontext():
            kernel = _BACKEND_NAMES.get(_torch_choice(q, k, v, bias, dropout, scale), "unknown")
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)
        return out, kernel
    with sdpa_kernel([SDPA_BACKENDS[backend]]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch lists its reasons as warnings; our error says it once
            served = _torch_choice(q, k, v, bias, dropout, scale) == SDPA_BACKENDS[backend].value
        if not served:
            raise AttentionBackendError(_refusal(q, bias, dropout, backend))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale), backend


def _without_padding(bias: Tensor | EdgeBias | None, key_mask: Tensor) -> Tensor | EdgeBias:
    """The bias with every edge to padding cut; a matrix becomes [M, H or 1, N, N].

    Padding still looks at itself: a row without any edge would be nan, also in the gradient of the others.
    """
    columns = key_mask[:, None, :] | torch.eye(key_mask.shape[1], dtype=torch.bool, device=key_mask.device)  # [M,N,N]
    if isinstance(bias, EdgeBias):
        return replace(bias, keep=columns if bias.keep is None else bias.keep & columns)
    if bias is None:
        bias = torch.zeros(1, 1, 1, 1, device=key_mask.device)
    return (bias if bias.dim() == 4 else bias[None]).masked_fill(~columns[:, None], -torch.inf)


def _torch_choice(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float, scale: float | None = None
) -> int:
    """The SDPBackend number that torch's own dispatcher takes for this call; -1 for none."""
    try:
        return int(torch._fused_sdp_choice(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale))
    except RuntimeError:
        return -1


def _refusal(q: Tensor, bias: Tensor | None, dropout: float, backend: str) -> str:
    mask = "no bias" if bias is None else "a bias" + (" with gradient" if bias.requires_grad else "")
    dtype = str(q.dtype).removeprefix("torch.")
    return (
        f"MODEL.DiffusionDet.SELF_ATTN_SDPA_BACKEND: {backend!r} cannot serve {dtype} on {q.device.type} "
        f"with {mask} and dropout {dropout:g}; use 'auto' or 'math'"
    )
