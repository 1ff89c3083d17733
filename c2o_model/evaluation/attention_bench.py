"""What the attention kernels cost: time and peak memory of one layer, by node count, kernel and bias."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from c2o_model.graph.attention import SDPA_BACKENDS, AttentionBackendError, NodeAttention


class AttentionRow(TypedDict):
    """One kernel at one size. Where it cannot run, times (seconds) are nan and memory (bytes) is None."""

    impl: str
    backend: str
    bias: str
    nodes: int
    heads: int
    dim: int
    batch: int
    dtype: str
    device: str
    threads: int
    repeats: int
    status: str
    time_s: float
    time_s_min: float
    time_s_iqr: float
    peak_bytes: int | None
    max_abs_diff: float


def bench_attention(
    nodes: list[int], heads: int, dim: int, repeats: int, batch: int = 1, device: str = "cpu"
) -> list[AttentionRow]:
    """Time one forward pass of `NodeAttention` (projections included, no gradient, float32).

    Kernels: `torch` (the arithmetic of nn.MultiheadAttention), and `sdpa` pinned to each of its backends;
    each with no bias and with an additive bias [H, N, N]. The kernels take turns in every repeat, so that a
    disturbance of the machine does not fall on one of them. A kernel that does not exist here gets a row
    whose `status` says why; else `status` is "ok".

    Peak memory is what one call adds at its highest point, counted by torch's allocator: on CUDA its own peak
    counter, on a CPU the running sum of the profiler's allocation events. (The process's resident peak would
    be no measure: the C library keeps freed pages, so a second call may not raise it at all.) Scratch memory
    that a BLAS library takes for itself is not in it.

    `max_abs_diff` is the greatest difference to nn.MultiheadAttention.forward with the same weights and
    input.

    Args:
        nodes: the N to measure, each >= 1.
        heads, dim: H and C.
        repeats: timed calls, after one warm-up.
        batch: graphs at once.
        device: "cpu" or "cuda".
    """
    rows: list[AttentionRow] = []
    for count in nodes:
        generator = torch.Generator().manual_seed(count)
        x = torch.randn(batch, count, dim, generator=generator).to(device)
        bias = torch.randn(heads, count, count, generator=generator).to(device)
        layers = _layers(dim, heads, device)
        for tag, added in (("none", None), ("additive", bias)):
            rows += _measure(layers, x, added, tag, repeats)
    return rows


def _layers(dim: int, heads: int, device: str) -> dict[tuple[str, str], NodeAttention]:
    """One layer a kernel, all with the same weights, by (impl, backend)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = {("torch", "-"): NodeAttention(dim, heads)}
        for backend in SDPA_BACKENDS:
            layers["sdpa", backend] = NodeAttention(dim, heads, impl="sdpa", sdpa_backend=backend)
    for layer in layers.values():
        layer.load_state_dict(layers["torch", "-"].state_dict())
        layer.to(device).eval()
    return layers


@torch.no_grad()
def _measure(
    layers: dict[tuple[str, str], NodeAttention], x: Tensor, bias: Tensor | None, tag: str, repeats: int
) -> list[AttentionRow]:
    expected = _reference(layers["torch", "-"], x, bias)
    calls: dict[tuple[str, str], Callable[[], Tensor]] = {}
    rows: dict[tuple[str, str], AttentionRow] = {}
    for key, layer in layers.items():
        rows[key] = row = _empty_row(key, layer, x, tag, repeats)
        try:
            out = layer(x, bias=bias)  # the warm-up
        except AttentionBackendError as refusal:
            row["status"] = str(refusal)
            continue
        row["max_abs_diff"] = (out - expected).abs().max().item()
        calls[key] = partial(layer, x, bias=bias)
        del out
        row["peak_bytes"] = _peak_bytes(calls[key], x.device)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(repeats):
        for key, call in calls.items():
            times[key].append(_seconds(call, x.device))
    for key, seconds in times.items():
        row = rows[key]
        row["time_s"], row["time_s_min"], row["time_s_iqr"] = (
            statistics.median(seconds),
            min(seconds),
            _iqr(seconds),
        )
    return list(rows.values())


def _empty_row(key: tuple[str, str], layer: NodeAttention, x: Tensor, tag: str, repeats: int) -> AttentionRow:
    nan = float("nan")
    return AttentionRow(
        impl=key[0],
        backend=key[1],
        bias=tag,
        nodes=x.shape[1],
        heads=layer.num_heads,
        dim=layer.embed_dim,
        batch=x.shape[0],
        dtype=str(x.dtype).removeprefix("torch."),
        device=x.device.type,
        threads=torch.get_num_threads(),
        repeats=repeats,
        status="ok",
        time_s=nan,
        time_s_min=nan,
        time_s_iqr=nan,
        peak_bytes=None,
        max_abs_diff=nan,
    )


def _reference(layer: NodeAttention, x: Tensor, bias: Tensor | None) -> Tensor:
    """nn.MultiheadAttention's own forward with the layer's weights, as DiffusionDet calls it."""
    mask = None if bias is None else bias.repeat(x.shape[0], 1, 1)
    out: Tensor = nn.MultiheadAttention.forward(layer, x, x, x, attn_mask=mask)[0]
    return out


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak_bytes(call: Callable[[], Tensor], device: torch.device) -> int:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    events = [e for e in profile.kineto_results.events() if e.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak


def _iqr(seconds: list[float]) -> float:
    """Distance between the quartiles; 0 for a single value."""
    if len(seconds) < 2:
        return 0.0
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return high - low
