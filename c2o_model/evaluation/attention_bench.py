"""What the attention kernels cost: time and peak memory of one layer, by node count, kernel, bias and dtype."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from c2o_model.graph.attention import SDPA_BACKENDS, AttentionBackendError, NodeAttention
from c2o_model.graph.bias import EdgeBias, GeoBias

IMAGE_SIDE = 1000.0  # pixels; boxes are drawn in an image of this size
NEIGHBOURS = 16
BIASES = ("none", "distance", "lowrank", "iou", "knn")
"""No bias; GEO_BIAS_TYPE distance with each node's own scale; with a shared one, which `sdpa` runs in its low-rank form
and the others as a matrix; iou; and the graph of the 16 nearest neighbours without a bias."""


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
    nodes: list[int],
    heads: int,
    dim: int,
    repeats: int,
    batch: int = 1,
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32",),
    biases: Sequence[str] = BIASES,
) -> list[AttentionRow]:
    """Time one forward pass of a layer (projections included, no gradient), bias and edges made anew in each call.

    Layers: `mha`, nn.MultiheadAttention itself as DiffusionDet calls it, with the bias as its mask: the baseline;
    and `NodeAttention` as `torch` (the same arithmetic without the averaged weights), as `sdpa` pinned to each of its
    backends, and on CUDA as `flex`. Biases: see BIASES. The layers take turns in every repeat, so that a
    disturbance of the machine does not fall on one of them. A kernel that does not exist here gets a row
    whose `status` says why; else `status` is "ok".

    Peak memory is what one call adds at its highest point, counted by torch's allocator: on CUDA its own peak
    counter, on a CPU the running sum of the profiler's allocation events. (The process's resident peak would
    be no measure: the C library keeps freed pages, so a second call may not raise it at all.) Scratch memory
    that a BLAS library takes for itself is not in it.

    `max_abs_diff` is the greatest difference to the baseline with the same weights and input, in the same dtype.

    Args:
        nodes: the N to measure, each >= 1.
        heads, dim: H and C.
        repeats: timed calls, after one warm-up.
        batch: graphs at once.
        device: "cpu" or "cuda".
        dtypes: of weights and nodes: float32, bfloat16, float16. Boxes stay float32.
        biases: which of BIASES.
    """
    rows: list[AttentionRow] = []
    for dtype in dtypes:
        layers = _layers(dim, heads, device, getattr(torch, dtype))
        for count in nodes:
            generator = torch.Generator().manual_seed(count)
            x = torch.randn(batch, count, dim, generator=generator).to(device, getattr(torch, dtype))
            low = torch.rand(batch, count, 2, generator=generator) * IMAGE_SIDE * 0.8
            size = (torch.rand(batch, count, 2, generator=generator) * 0.2 + 0.01) * IMAGE_SIDE
            boxes = torch.cat([low, low + size], dim=-1).to(device)
            for tag in biases:
                rows += _measure(layers, x, _bias_maker(tag, heads, boxes), tag, repeats)
    return rows


def _bias_maker(tag: str, heads: int, boxes: Tensor) -> Callable[[], EdgeBias | None]:
    """What makes the bias from the boxes, as a stage of the head does before its attention."""
    if tag == "none":
        return lambda: None
    kind = {"knn": "none", "lowrank": "distance"}.get(tag, tag)
    module = GeoBias(kind, heads, 1000, shared=tag == "lowrank", topk=NEIGHBOURS if tag == "knn" else 0)
    if module.scale is not None:
        nn.init.constant_(module.scale, 0.5)
    module.to(boxes.device).requires_grad_(False)
    whwh = boxes.new_full((len(boxes), 4), IMAGE_SIDE)
    return partial(module, boxes, whwh, torch.zeros(len(boxes), device=boxes.device))


def _layers(dim: int, heads: int, device: str, dtype: torch.dtype) -> dict[tuple[str, str], nn.MultiheadAttention]:
    """One layer a kernel, all with the same weights, by (impl, backend)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: dict[tuple[str, str], nn.MultiheadAttention] = {
            ("mha", "-"): nn.MultiheadAttention(dim, heads, batch_first=True),
            ("torch", "-"): NodeAttention(dim, heads),
        }
        for backend in SDPA_BACKENDS:
            layers["sdpa", backend] = NodeAttention(dim, heads, impl="sdpa", sdpa_backend=backend)
        layers["flex", "compiled"] = NodeAttention(dim, heads, impl="flex")
    for layer in layers.values():
        layer.load_state_dict(layers["mha", "-"].state_dict())
        layer.to(device, dtype).eval()
    return layers


@torch.no_grad()
def _measure(
    layers: dict[tuple[str, str], nn.MultiheadAttention],
    x: Tensor,
    make_bias: Callable[[], EdgeBias | None],
    tag: str,
    repeats: int,
) -> list[AttentionRow]:
    expected = _forward(layers["mha", "-"], x, make_bias)
    calls: dict[tuple[str, str], Callable[[], Tensor]] = {}
    rows: dict[tuple[str, str], AttentionRow] = {}
    for key, layer in layers.items():
        rows[key] = row = _empty_row(key, layer, x, tag, repeats)
        if key[0] == "flex" and not x.is_cuda:
            row["status"] = "flex is compiled on CUDA only; on a CPU it is written out, which is no kernel to time"
            continue
        try:
            out = _forward(layer, x, make_bias)  # the warm-up
        except AttentionBackendError as refusal:
            row["status"] = str(refusal)
            continue
        row["max_abs_diff"] = (out - expected).abs().max().item()
        calls[key] = partial(_forward, layer, x, make_bias)
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


def _empty_row(key: tuple[str, str], layer: nn.MultiheadAttention, x: Tensor, tag: str, repeats: int) -> AttentionRow:
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


def _forward(layer: nn.MultiheadAttention, x: Tensor, make_bias: Callable[[], EdgeBias | None]) -> Tensor:
    """One call with its bias. nn.MultiheadAttention gets it as a float mask [M*H, N, N]."""
    bias = make_bias()
    if isinstance(layer, NodeAttention):
        return layer(x, bias=bias)
    matrix = None if bias is None else bias.dense()
    if matrix is not None:
        matrix = matrix.expand(-1, layer.num_heads, -1, -1).flatten(0, 1).to(x.dtype)
    out: Tensor = layer(x, x, x, attn_mask=matrix)[0]
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
