"""All kernels against nn.MultiheadAttention and loops, forward and backward; none is swapped in silence."""

import math

import pytest
import torch
from torch import Tensor, nn

from c2o_model.graph.attention import AttentionBackendError, NodeAttention

KERNELS = [("torch", "auto"), ("sdpa", "auto"), ("sdpa", "flash"), ("sdpa", "math")]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def twins(dim: int, heads: int, impl: str, backend: str) -> tuple[NodeAttention, nn.MultiheadAttention]:
    reference = nn.MultiheadAttention(dim, heads, batch_first=True)
    nn.init.normal_(reference.in_proj_bias)
    ours = NodeAttention(dim, heads, impl=impl, sdpa_backend=backend)
    ours.load_state_dict(reference.state_dict(), strict=True)
    return ours, reference


def gradients(module: nn.Module, *inputs: Tensor) -> list[Tensor]:
    grads = [p.grad for p in (*module.parameters(), *inputs) if p.requires_grad]
    assert all(g is not None for g in grads)
    return [g.clone() for g in grads if g is not None]


@pytest.mark.parametrize(("impl", "backend"), KERNELS)
@pytest.mark.parametrize("bias_shape", [None, "mhnn", "hnn"])
def test_equals_torch_forward_and_backward(impl: str, backend: str, bias_shape: str | None) -> None:
    m, n, dim, heads = 3, 17, 32, 4
    ours, reference = twins(dim, heads, impl, backend)
    x = torch.randn(m, n, dim, requires_grad=True)
    full, bias = None, None
    if bias_shape:
        bias = torch.randn(*((m, heads) if bias_shape == "mhnn" else (heads,)), n, n)
        full = (bias if bias.dim() == 4 else bias.expand(m, -1, -1, -1)).flatten(0, 1)
    weight = torch.randn(m, n, dim)
    outs, grads = [], []
    for module, call in (
        (reference, lambda: reference(x, x, x, attn_mask=full)[0]),
        (ours, lambda: ours(x, bias=bias)),
    ):
        x.grad = None
        out = call()
        (out * weight).sum().backward()
        outs.append(out.detach())
        grads.append(gradients(module, x))
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-5, atol=1e-5)
    for found, expected in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("impl", "backend"), [("torch", "auto"), ("sdpa", "auto"), ("sdpa", "math")])
def test_a_learnt_bias_gets_the_same_gradient(impl: str, backend: str) -> None:
    m, n, dim, heads = 2, 9, 16, 2
    ours, reference = twins(dim, heads, impl, backend)
    x, bias = torch.randn(m, n, dim), torch.randn(m, heads, n, n, requires_grad=True)
    found, expected = (
        torch.autograd.grad(out.square().sum(), bias)[0]
        for out in (ours(x, bias=bias), reference(x, x, x, attn_mask=bias.flatten(0, 1))[0])
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert ours.last_kernel == ("torch" if impl == "torch" else "sdpa:math")  # flash refuses it, and that is recorded


@pytest.mark.parametrize(("impl", "backend"), KERNELS)
@pytest.mark.parametrize("which", ["both", "same", "q", "k"])
def test_positions_reach_queries_and_keys_only(impl: str, backend: str, which: str) -> None:
    ours, reference = twins(16, 2, impl, backend)
    x, a, b = torch.randn(3, 2, 7, 16)
    q_pos = None if which == "k" else a
    k_pos = {"both": b, "same": a, "q": None, "k": b}[which]
    query = x if q_pos is None else x + q_pos
    key = x if k_pos is None else x + k_pos
    expected = reference(query, key, x)[0]
    torch.testing.assert_close(ours(x, q_pos=q_pos, k_pos=k_pos), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("impl", "backend"), KERNELS)
def test_against_loops(impl: str, backend: str) -> None:
    n, dim, heads = 4, 6, 3
    ours, _ = twins(dim, heads, impl, backend)
    x, bias = torch.randn(1, n, dim), torch.randn(heads, n, n)
    bias[0, 1, 2] = -math.inf  # a cut edge
    with torch.no_grad():
        rows = x[0] @ ours.in_proj_weight.T + ours.in_proj_bias
        mixed = torch.zeros(n, dim)
        width = dim // heads
        for h in range(heads):
            cols = range(h * width, (h + 1) * width)
            for i in range(n):
                scores = [
                    sum(float(rows[i, c] * rows[j, dim + c]) for c in cols) / math.sqrt(width) + float(bias[h, i, j])
                    for j in range(n)
                ]
                weights = [math.exp(s) for s in scores]
                for c in cols:
                    mixed[i, c] = sum(w * float(rows[j, 2 * dim + c]) for j, w in enumerate(weights)) / sum(weights)
        expected = mixed @ ours.out_proj.weight.T + ours.out_proj.bias
        torch.testing.assert_close(ours(x, bias=bias)[0], expected, rtol=1e-5, atol=1e-5)


def test_state_dict_names_and_shapes_are_those_of_torch() -> None:
    ours, reference = twins(16, 4, "sdpa", "auto")
    shapes = {name: tuple(v.shape) for name, v in ours.state_dict().items()}
    assert shapes == {name: tuple(v.shape) for name, v in reference.state_dict().items()}
    assert set(shapes) == {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}


def test_the_kernel_that_ran_is_recorded() -> None:
    x = torch.randn(2, 5, 16)
    for impl, backend, expected in (
        ("torch", "auto", "torch"),
        ("sdpa", "auto", "sdpa:flash"),
        ("sdpa", "flash", "sdpa:flash"),
        ("sdpa", "math", "sdpa:math"),
    ):
        layer = NodeAttention(16, 4, impl=impl, sdpa_backend=backend)
        layer(x)
        assert layer.last_kernel == expected


def test_a_backend_that_cannot_serve_is_an_error() -> None:
    x, bias = torch.randn(2, 5, 16), torch.randn(4, 5, 5, requires_grad=True)
    with pytest.raises(
        AttentionBackendError,
        match="BACKEND: 'mem_efficient' cannot serve float32 on cpu with no bias and dropout 0; use",
    ):
        NodeAttention(16, 4, impl="sdpa", sdpa_backend="mem_efficient")(x)
    with pytest.raises(AttentionBackendError, match="'flash' cannot serve float32 on cpu with a bias with gradient"):
        NodeAttention(16, 4, impl="sdpa", sdpa_backend="flash")(x, bias=bias)
    with pytest.raises(AttentionBackendError, match=r"with no bias and dropout 0\.1"):
        NodeAttention(16, 4, dropout=0.1, impl="sdpa", sdpa_backend="flash")(x)


def test_bad_names_are_errors() -> None:
    with pytest.raises(ValueError, match="SELF_ATTN_IMPL: 'xformers' is unknown; choose one of torch, sdpa, flex"):
        NodeAttention(16, 4, impl="xformers")
    with pytest.raises(
        ValueError, match=r"SELF_ATTN_IMPL: 'flex' has no dropout \(DROPOUT 0.1\); use 'torch' or 'sdpa'"
    ):
        NodeAttention(16, 4, dropout=0.1, impl="flex")
    with pytest.raises(ValueError, match="SELF_ATTN_SDPA_BACKEND: 'cudnn' is unknown; choose one of auto, flash"):
        NodeAttention(16, 4, impl="sdpa", sdpa_backend="cudnn")


@pytest.mark.parametrize("impl", ["torch", "sdpa"])
def test_dropout_works_in_training_and_is_off_in_evaluation(impl: str) -> None:
    layer, plain = NodeAttention(16, 4, dropout=0.5, impl=impl), NodeAttention(16, 4, impl=impl)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 16)
    expected = plain(x)
    many = torch.stack([layer(x) for _ in range(3000)])
    assert not torch.allclose(many[0], expected, atol=1e-3)
    torch.testing.assert_close(many.mean(dim=0), expected, rtol=0, atol=0.05)  # dropout keeps the mean
    torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_serves_a_learnt_bias_with_mem_efficient() -> None:
    reference = NodeAttention(64, 4, impl="torch").cuda()
    layer = NodeAttention(64, 4, impl="sdpa", sdpa_backend="mem_efficient").cuda()
    layer.load_state_dict(reference.state_dict())
    x, bias = torch.randn(2, 40, 64).cuda(), torch.randn(2, 4, 40, 40, device="cuda", requires_grad=True)
    found, expected = (torch.autograd.grad(a(x, bias=bias).square().sum(), bias)[0] for a in (layer, reference))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert layer.last_kernel == "sdpa:mem_efficient"


@pytest.mark.parametrize(("impl", "backend"), KERNELS)
def test_an_image_alone_gives_the_bits_it_gives_in_a_batch(impl: str, backend: str) -> None:
    layer, x, bias = (
        NodeAttention(64, 8, impl=impl, sdpa_backend=backend),
        torch.randn(20, 32, 64),
        torch.randn(8, 32, 32),
    )
    with torch.no_grad():
        for added in (None, bias):
            together = layer(x, bias=added)
            assert all(torch.equal(layer(x[i : i + 1], bias=added)[0], together[i]) for i in range(20))
