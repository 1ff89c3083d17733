"""Self-attention among the nodes, with a choice of kernel that is recorded and never silently swapped.

The kernel is picked with MODEL.DiffusionDet.SELF_ATTN_IMPL (`torch`, `sdpa`) and SELF_ATTN_SDPA_BACKEND
(`auto`, `flash`, `mem_efficient`, `math`). All give the same numbers to 1e-5 in float32.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

IMPLS = ("torch", "sdpa", "flex")
SDPA_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "mem_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_BACKEND_NAMES = {int(backend.value): name for name, backend in SDPA_BACKENDS.items()} | {
    int(SDPBackend.CUDNN_ATTENTION.value): "cudnn"
}


class AttentionBackendError(RuntimeError):
    """The chosen SDPA backend cannot serve the call."""


class NodeAttention(nn.MultiheadAttention):
    """Multi-head attention over the nodes of each image (arXiv 1706.03762, sec. 3.2), batch first.

    Parameters and state-dict names are those of nn.MultiheadAttention (in_proj_weight, in_proj_bias,
    out_proj.weight, out_proj.bias), so a DiffusionDet checkpoint loads into it.

    Args:
        dim: C, divisible by `heads`.
        heads: H.
        dropout: on the attention weights, in training.
        impl: `torch` = matmul, softmax, matmul as nn.MultiheadAttention with weights does; `sdpa` = torch's
            fused scaled_dot_product_attention.
        sdpa_backend: `auto` lets torch pick; another name pins that kernel, and a call that it cannot serve
            raises AttentionBackendError.

    Attributes:
        last_kernel: which kernel served the last call: "torch" or "sdpa:NAME".
    """

    def __init__(
        self, dim: int, heads: int, *, dropout: float = 0.0, impl: str = "torch", sdpa_backend: str = "auto"
    ) -> None:
        super().__init__(dim, heads, dropout=dropout, batch_first=True)
        if impl not in IMPLS:
            raise ValueError(f"SELF_ATTN_IMPL: {impl!r} is unknown; choose one of {', '.join(IMPLS)}")
        if impl == "flex":
            raise NotImplementedError("SELF_ATTN_IMPL: 'flex' is not built yet; use 'torch' or 'sdpa'")
        if sdpa_backend != "auto" and sdpa_backend not in SDPA_BACKENDS:
            raise ValueError(
                f"SELF_ATTN_SDPA_BACKEND: {sdpa_backend!r} is unknown; choose one of auto, {', '.join(SDPA_BACKENDS)}"
            )
        self.impl, self.sdpa_backend = impl, sdpa_backend
        self.last_kernel = ""

    def forward(  # type: ignore[override]  # a narrower call than nn.MultiheadAttention's, for one use
        self,
        x: Tensor,
        *,
        q_pos: Tensor | None = None,
        k_pos: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """x [M, N, C] -> [M, N, C].

        Args:
            q_pos, k_pos: [M, N, C], added to the input of the queries and of the keys, not of the values.
            bias: added to the scaled scores, [M, H, N, N] or [H, N, N]; -inf cuts an edge.
        """
        q, k, v = self._project(x, q_pos, k_pos)
        if bias is not None:
            bias = (bias if bias.dim() == 4 else bias[None]).to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        if self.impl == "torch":
            mixed, self.last_kernel = plain_attention(q, k, v, bias, dropout), "torch"
        else:
            mixed, kernel = sdpa_attention(q, k, v, bias, dropout, self.sdpa_backend)
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


def sdpa_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float = 0.0, backend: str = "auto"
) -> tuple[Tensor, str]:
    """The same through torch's scaled_dot_product_attention; also returns the name of the kernel that ran.

    Raises AttentionBackendError when `backend` is not `auto` and cannot serve the call: mem_efficient does
    not exist on a CPU; flash refuses a bias that needs a gradient, dropout on a CPU, and on CUDA any bias
    and float32.
    """
    if backend == "auto":
        kernel = _BACKEND_NAMES.get(_torch_choice(q, k, v, bias, dropout), "unknown")
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout), kernel
    with sdpa_kernel([SDPA_BACKENDS[backend]]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch lists its reasons as warnings; our error says it once
            served = _torch_choice(q, k, v, bias, dropout) == SDPA_BACKENDS[backend].value
        if not served:
            raise AttentionBackendError(_refusal(q, bias, dropout, backend))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout), backend


def _torch_choice(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> int:
    """The SDPBackend number that torch's own dispatcher takes for this call; -1 for none."""
    try:
        return int(torch._fused_sdp_choice(q, k, v, attn_mask=bias, dropout_p=dropout))
    except RuntimeError:
        return -1


def _refusal(q: Tensor, bias: Tensor | None, dropout: float, backend: str) -> str:
    mask = "no bias" if bias is None else "a bias" + (" with gradient" if bias.requires_grad else "")
    dtype = str(q.dtype).removeprefix("torch.")
    return (
        f"MODEL.DiffusionDet.SELF_ATTN_SDPA_BACKEND: {backend!r} cannot serve {dtype} on {q.device.type} "
        f"with {mask} and dropout {dropout:g}; use 'auto' or 'math'"
    )
