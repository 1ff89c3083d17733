"""Sums over the processes of one training: gloo on CPUs, nccl on GPUs, nothing at all in a single process.

Thin over torch.distributed and Detectron2's ``comm``, whose ``launch`` starts the processes (``train_net``). Gradients
are summed, not averaged: every loss is divided by the counts of the global batch already (c2o_model.divisors).
Called by the training loop and by evaluation's gathering.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from detectron2.utils import comm
from torch import Tensor, distributed, nn

BUCKET = 4 * 2**20  # numbers that travel together: few messages, and no second copy of all gradients


def rank() -> int:
    """Number of this process, 0 first."""
    return int(comm.get_rank())


def world() -> int:
    """How many processes train together."""
    return int(comm.get_world_size())


def summed(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over the processes, in every process the same bits."""
    if world() == 1:
        return tensor
    total = tensor.detach().to(_device()).clone()
    distributed.all_reduce(total)
    return total.to(tensor.device)


def greatest(values: Iterable[int]) -> list[int]:
    """The maximum of each of a few integers over the processes."""
    most = torch.tensor(list(values), dtype=torch.int64, device=_device())
    if world() > 1:
        distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
    return [int(v) for v in most.tolist()]


def alike(values: Iterable[int]) -> bool:
    """Whether all processes hold the same few integers."""
    own = list(values)
    return greatest([*own, *(-v for v in own)]) == [*own, *(-v for v in own)]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes. A parameter that no process has one for keeps none."""
    if world() == 1:
        return
    every = list(parameters)
    there = torch.tensor([p.grad is not None for p in every], dtype=torch.int32, device=_device())
    distributed.all_reduce(there, op=distributed.ReduceOp.MAX)
    used = [p for p, any_has in zip(every, there.tolist(), strict=True) if any_has]
    for bucket in _buckets(used):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in bucket])
        distributed.all_reduce(flat)
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            # The layout of the parameter, which a fused optimiser walks in memory, is kept.
            grad = torch.empty_like(parameter)
            parameter.grad = grad.copy_(part.view(parameter.shape))


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.numel() > BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


def _device() -> torch.device:
    """Where the backend wants its tensors."""
    nccl = world() > 1 and distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
