"""Every kernel with every bias, sparse graph and padding, forward and backward, against nn.MultiheadAttention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from c2o_model.graph.attention import AttentionBackendError, NodeAttention
from c2o_model.graph.bias import GeoBias

M, N, DIM, HEADS = 3, 19, 32, 4
KINDS = ("none", "distance", "shared", "iou", "mlp")
KERNELS = (("torch", "auto"), ("sdpa", "auto"), ("sdpa", "math"), ("flex", "auto"))
WHWH = torch.tensor([[200.0, 100, 200, 100], [64, 64, 64, 64], [100, 300, 100, 300]])
T = torch.tensor([0, 400, 900])


def make_bias(kind: str, topk: int) -> GeoBias:
    torch.manual_seed(1)
    module = GeoBias(
        "distance" if kind == "shared" else kind,
        HEADS,
        1000,
        shared=kind == "shared",
        topk=topk,
        hidden=6,
        schedule="linear",
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    low = torch.rand(M, N, 2, generator=g) * 0.7
    boxes = torch.cat([low, low + torch.rand(M, N, 2, generator=g) * 0.3], dim=-1) * WHWH[:, None]
    return torch.randn(M, N, DIM, generator=g), boxes


def reference_layer() -> nn.MultiheadAttention:
    torch.manual_seed(3)
    layer = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    nn.init.normal_(layer.in_proj_bias)
    return layer


def ours(impl: str, backend: str = "auto") -> NodeAttention:
    layer = NodeAttention(DIM, HEADS, impl=impl, sdpa_backend=backend)
    layer.load_state_dict(reference_layer().state_dict())
    return layer


def padding(padded: bool) -> Tensor | None:
    return torch.arange(N) < torch.tensor([[N], [N - 5], [1]]) if padded else None


CASES = [(kind, topk, padded) for kind in KINDS for topk in (0, 4) for padded in (False, True)]


def expected_call(kind: str, topk: int, padded: bool, x: Tensor, boxes: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients (layer, bias parameters, x) of torch's own layer with the matrix as its mask."""
    layer, module = reference_layer(), make_bias(kind, topk)
    x = x.clone().requires_grad_()
    matrix = module(boxes, WHWH, T).dense()
    matrix = torch.zeros(M, HEADS, N, N) if matrix is None else matrix.expand(M, HEADS, N, N)
    mask = padding(padded)
    if mask is not None:
        matrix = matrix.masked_fill(~(mask[:, None, None] | torch.eye(N, dtype=torch.bool)), -math.inf)
    out = layer(x, x, x, attn_mask=matrix.flatten(0, 1))[0]
    return out, _gradients(out, layer, module, x, mask)


def _gradients(out: Tensor, layer: nn.Module, module: GeoBias, x: Tensor, mask: Tensor | None) -> list[Tensor]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(4))
    wanted = [*layer.parameters(), *module.parameters(), x]
    chosen = out * weight if mask is None else (out * weight)[mask]
    return list(torch.autograd.grad(chosen.sum(), wanted))


@pytest.mark.parametrize(("kind", "topk", "padded"), CASES)
def test_all_kernels_agree_with_torch_forward_and_backward(kind: str, topk: int, padded: bool) -> None:
    x, boxes = inputs()
    expected, expected_grads = expected_call(kind, topk, padded, x, boxes)
    mask = padding(padded)
    rows = torch.ones(M, N, dtype=torch.bool) if mask is None else mask
    for impl, backend in KERNELS:
        layer, module = ours(impl, backend), make_bias(kind, topk)
        bias = None if kind == "none" and not topk else module
        leaf = x.clone().requires_grad_(impl != "flex")
        with torch.set_grad_enabled(impl != "flex"):
            out = layer(leaf, bias=None if bias is None else bias(boxes, WHWH, T), key_mask=mask)
        assert torch.isfinite(out).all()
        torch.testing.assert_close(out[rows], expected[rows], rtol=1e-5, atol=1e-5, msg=f"{impl} {backend}")
        if impl != "flex":
            for found, right in zip(_gradients(out, layer, module, leaf, mask), expected_grads, strict=True):
                torch.testing.assert_close(found, right, rtol=1e-5, atol=3e-5 * float(right.abs().max().clamp(min=1)))
        plain = kind == "none" and not topk and not padded
        low_rank = impl == "sdpa" and kind == "shared" and not topk and not padded
        form = "score_mod" if impl == "flex" else "low_rank" if low_rank else "matrix"
        assert layer.last_bias == ("" if plain else form)
        assert layer.last_kernel.startswith({"torch": "torch", "sdpa": "sdpa:", "flex": "flex:eager"}[impl])


@pytest.mark.parametrize("impl", ["torch", "sdpa", "flex"])
def test_padding_is_as_good_as_absent(impl: str) -> None:
    """Real nodes get what they get in a set without the padding, whatever stands in it."""
    x, boxes = inputs()
    layer = ours(impl)
    for kind in KINDS:
        module = make_bias(kind, 0) if kind not in ("none", "shared") else None
        with torch.no_grad():
            short = layer(x[:, :12], bias=None if module is None else module(boxes[:, :12], WHWH, T))
            bias = None if module is None else module(boxes, WHWH, T)
            full = layer(x, bias=bias, key_mask=(torch.arange(N) < 12).expand(M, N))
        torch.testing.assert_close(full[:, :12], short, rtol=1e-5, atol=1e-5)


def test_a_cut_edge_carries_nothing() -> None:
    """Changing a node changes only those that keep it among their neighbours."""
    x, boxes = inputs()
    keep = make_bias("none", 3)(boxes, WHWH, T).keep
    assert keep is not None
    for impl in ("torch", "sdpa", "flex"):
        layer, other = ours(impl), x.clone()
        other[:, 5] += 3.0
        with torch.no_grad():
            a, b = (layer(v, bias=make_bias("none", 3)(boxes, WHWH, T)) for v in (x, other))
        assert torch.equal((a != b).any(dim=-1), keep[:, :, 5]), impl


def test_the_low_rank_form_keeps_flash_and_says_so() -> None:
    x, boxes = inputs()
    layer, module = ours("sdpa", "flash"), make_bias("shared", 0)
    layer(x, bias=module(boxes, WHWH, T)).sum().backward()  # a learnt bias, which flash refuses as a matrix
    assert (layer.last_kernel, layer.last_bias) == ("sdpa:flash", "low_rank")
    assert module.scale is not None and module.scale.grad is not None and module.scale.grad.abs().sum() > 0
    with pytest.raises(AttentionBackendError, match="'flash' cannot serve float32 on cpu with a bias with gradient"):
        layer(x, bias=make_bias("distance", 0)(boxes, WHWH, T))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_low_rank_holds_in_reduced_precision(dtype: torch.dtype, limit: float) -> None:
    """As near to the float64 scores as a bias added to them: without the split the error is several times that."""
    x, boxes = inputs()
    module = make_bias("shared", 0)
    with torch.no_grad():
        nn.init.constant_(module.scale, 3.0)
        bias = module(boxes, WHWH, T)
        query, key = bias.low_rank(dtype)
        found = query.double() @ key.double().transpose(-1, -2)
        expected = bias.dense()
        assert expected is not None
        # softmax is blind to a constant a row
        error = (found - expected).sub_((found - expected).mean(dim=-1, keepdim=True)).abs().max()
    assert query.dtype == dtype and query.shape == (M, HEADS, N, 8)
    assert float(error) < limit * float(expected.abs().max()) / 8


def test_flex_trains_on_cuda_only() -> None:
    x, boxes = inputs()
    layer = ours("flex")
    with pytest.raises(
        AttentionBackendError, match="SELF_ATTN_IMPL: 'flex' has no backward on cpu; train with 'torch'"
    ):
        layer(x)
    with torch.no_grad():
        layer(x, bias=make_bias("iou", 4)(boxes, WHWH, T))
    assert (layer.last_kernel, layer.last_bias) == ("flex:eager", "score_mod")


def test_a_pinned_backend_is_not_swapped_for_a_sparse_graph() -> None:
    x, boxes = inputs()
    bias = make_bias("none", 4)(boxes, WHWH, T)
    layer = ours("sdpa", "math")
    layer(x, bias=bias)
    assert layer.last_kernel == "sdpa:math"
    with pytest.raises(AttentionBackendError, match="'mem_efficient' cannot serve float32 on cpu with a bias"):
        ours("sdpa", "mem_efficient")(x, bias=bias)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("topk", [0, 4])
def test_kernels_agree_on_cuda(kind: str, topk: int) -> None:
    x, boxes = inputs()
    results = []
    for impl in ("torch", "sdpa", "flex"):
        layer, module = ours(impl).cuda(), make_bias(kind, topk).cuda()
        leaf = x.cuda().requires_grad_()
        out = layer(leaf, bias=module(boxes.cuda(), WHWH.cuda(), T.cuda()))
        out.square().sum().backward()
        results.append([out, leaf.grad, *(p.grad for p in module.parameters())])
    for other in results[1:]:
        for found, right in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3)
