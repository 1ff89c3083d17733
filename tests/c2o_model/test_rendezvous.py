"""Who is whom among processes that torchrun or srun has started, and what options may say beside that."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2o_model import rendezvous
from c2o_model.keys import ConfigError
from c2o_model.rendezvous import Place, find, first_node, join

TORCHRUN = {  # process 5 of two machines with four each, as torch.distributed.run sets it
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1",
    "MASTER_ADDR": "a", "MASTER_PORT": "29500",
}  # fmt: skip
SRUN = {  # srun -N2 --ntasks-per-node=2, the last task, as slurm 22.05 sets it
    "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "127.0.0.[1-2]", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "4",
}  # fmt: skip
ONE_A_NODE = SRUN | {
    "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
}  # fmt: skip


def options(**given: Any) -> Namespace:
    return Namespace(**{"num_gpus": None, "num_machines": None, "machine_rank": None, "dist_url": None, **given})


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        (TORCHRUN, Place(5, 8, 1, "env://")),
        ({k: TORCHRUN[k] for k in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}, Place(5, 8, 0, "env://")),
        (SRUN, Place(3, 4, 1, "tcp://127.0.0.1:10087", "srun")),  # 10000 + 7 * 12 + 3
        (SRUN | {"SLURM_STEP_ID": "4"}, Place(3, 4, 1, "tcp://127.0.0.1:10088", "srun")),
        (SRUN | {"MASTER_ADDR": "localhost", "MASTER_PORT": "7"}, Place(3, 4, 1, "tcp://localhost:7", "srun")),
        (TORCHRUN | SRUN, Place(5, 8, 1, "env://")),  # torchrun inside of an srun step
    ],
)
def test_surroundings_give_the_place(environ: dict[str, str], place: Place) -> None:
    assert find(options(), environ) == place
    agreeing = {"num_gpus": 4, "num_machines": 2, "machine_rank": 1} if place.world == 8 else {"num_gpus": 2}
    if "LOCAL_WORLD_SIZE" in environ or place.starter == "srun":
        assert find(options(**agreeing), environ) == place
    url = "tcp://localhost:9"
    assert find(options(dist_url=url), environ) == Place(place.rank, place.world, place.local_rank, url, place.starter)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "9"},  # a batch script
        ONE_A_NODE | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"RANK": "1"},
    ],
)
def test_who_is_alone_starts_the_others(environ: dict[str, str]) -> None:
    args = options()
    assert find(args, environ) is None
    assert vars(args) == {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    given = {"num_gpus": 3, "num_machines": 2, "machine_rank": 1, "dist_url": "tcp://a:1"}
    args = options(**given)
    assert find(args, environ) is None and vars(args) == given


def test_one_task_a_node_starts_the_processes_of_its_node() -> None:
    args = options(num_gpus=8)
    assert find(args, ONE_A_NODE) is None
    assert vars(args) == {"num_gpus": 8, "num_machines": 2, "machine_rank": 1, "dist_url": "tcp://127.0.0.1:10087"}


@pytest.mark.parametrize(
    ("environ", "given", "message"),
    [
        (TORCHRUN, {"num_gpus": 2}, "--num-gpus: 2, but 4 process(es) on this machine torchrun has started; leave the"),
        (TORCHRUN, {"num_machines": 3}, "--num-machines: 3, but 2 machine(s) run what torchrun has started; leave"),
        (TORCHRUN, {"machine_rank": 0}, "--machine-rank: 0, but 1 is what torchrun says of this machine; leave the"),
        (SRUN, {"num_gpus": 8}, "--num-gpus: 8, but 2 process(es) on this machine srun has started; leave the option"),
        (ONE_A_NODE, {"num_gpus": 8, "num_machines": 1}, "--num-machines: 1, but 2 machine(s) run what srun has"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, {}, "RANK, WORLD_SIZE: are set, but MASTER_PORT is not"),
    ],
)
def test_contradictions_are_errors(environ: dict[str, str], given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        find(options(**given), environ)


def test_a_node_that_only_slurm_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address comes from scontrol."""
    asked = []

    def scontrol(command: list[str], **_: Any) -> Namespace:
        asked.append(command)
        return Namespace(stdout="NodeName=n1 Arch=x86_64 NodeAddr=127.0.0.1 NodeHostName=here")

    monkeypatch.setattr(rendezvous.subprocess, "run", scontrol)
    environ = SRUN | {"SLURM_STEP_NODELIST": "no-such-node.invalid,n2"}
    assert find(options(), environ) == Place(3, 4, 1, "tcp://127.0.0.1:10087", "srun")
    assert asked == [["scontrol", "show", "node", "no-such-node.invalid", "--oneliner"]]
    monkeypatch.setattr(rendezvous.subprocess, "run", lambda *_, **__: Namespace(stdout=""))
    with pytest.raises(ConfigError, match="no-such-node.invalid has no address here; export MASTER_ADDR with that of"):
        find(options(), environ)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"), ("n[1-2]", "n1"), ("gpu[003-005,9],cpu1", "gpu003"), ("a,b[1-2]", "a"),
        ("r[2,4]c[7-9]-x", "r2c7-x"),
    ],
)  # fmt: skip
def test_first_node(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=5))
def test_tasks_of_every_machine(groups: list[tuple[int, int]]) -> None:
    """SLURM writes runs of equal counts as COUNT(xTIMES)."""
    text = ",".join(f"{tasks}(x{times})" if times > 1 else str(tasks) for tasks, times in groups)
    counts = [tasks for tasks, times in groups for _ in range(times)]
    assert [rendezvous._tasks_on(machine, text) for machine in range(len(counts))] == counts


def test_the_gpu_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, joined = [], []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: joined.append((*a, k["rank"])))
    for seen, starter, local in ((4, "torchrun", 2), (4, "srun", 3), (1, "srun", 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda seen=seen: seen)
        join(Place(5, 8, local, "env://", starter), "cuda")
    join(Place(6, 8, 7, "env://"), "cpu")
    assert chosen == [2, 3, 0] and joined == [("nccl", 5)] * 3 + [("gloo", 6)]
    with pytest.raises(ConfigError, match=re.escape("MODEL.DEVICE: cuda, but process 3 of this machine sees 1 GPU(s)")):
        join(Place(5, 8, 3, "env://"), "cuda")
