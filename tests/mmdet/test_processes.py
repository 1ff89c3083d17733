"""A step shared by two processes is the step of one process on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor, distributed, multiprocessing, nn

from c2o_model.config import load_config
from c2o_model.mmdet3.from_c2o import model_config
from tests.mmdet.pairs import data_sample, picture, relative

SIZE = (64, 80)
BOXES: list[list[list[float]]] = [[[3, 4, 40, 50], [20, 10, 70, 60]], [], [[8, 8, 30, 60]], [[1, 1, 9, 9]]]


def step(numbers: range, wrapped: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a step of plain descent logs, and the parameters that it leaves, for these of the four images."""
    torch.manual_seed(0)
    model = MODELS.build(model_config(load_config("configs/models/digits/small.yaml"))).train()
    trained: nn.Module = MMDistributedDataParallel(model) if wrapped else model
    samples = [data_sample(SIZE, n, BOXES[n], [n] * len(BOXES[n])) for n in numbers]
    data: dict[str, Any] = {"inputs": [picture(SIZE, n) for n in numbers], "data_samples": samples}
    logged = trained.train_step(data, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))  # type: ignore[operator]
    return {k: v.detach() for k, v in logged.items()}, {n: p.detach() for n, p in model.named_parameters()}


def share(rank: int, directory: str) -> None:
    distributed.init_process_group("gloo", f"file://{directory}/meeting", rank=rank, world_size=2)
    torch.save(step(range(2 * rank, 2 * rank + 2), True), f"{directory}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.stack_feature("processes", stack="mmdet")
def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(share, (str(tmp_path),), 2, start_method="spawn")
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    logged, parameters = step(range(4), False)
    assert all(torch.equal(parts[0][1][n], parts[1][1][n]) for n in parameters)
    for name, value in parameters.items():
        torch.testing.assert_close(parts[0][1][name], value, rtol=1e-5, atol=1e-6)
    torch.manual_seed(0)
    start = MODELS.build(model_config(load_config("configs/models/digits/small.yaml"))).named_parameters()
    assert max(float((value - parameters[name]).detach().abs().max()) for name, value in start) > 1e-3  # it was a step
    for name, value in logged.items():  # each process logs twice its share of the whole batch's loss
        assert relative(value, (parts[0][0][name] + parts[1][0][name]) / 2) < 1e-5
