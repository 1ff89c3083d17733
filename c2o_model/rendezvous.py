"""How processes that torchrun or srun has started find each other.

    torchrun --nproc-per-node 2 -m c2o_model.train_net …           each process joins the others
    srun -N2 --ntasks-per-node=1 python -m c2o_model.train_net …   the same
    srun -N2 --ntasks-per-node=1 python -m c2o_model.train_net --num-gpus 8 …   each task starts the 8 of its node

An option on the command line wins over what the surroundings say, and one that contradicts what has been started
already is an error. Called by ``train_net`` and by ``worker``.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NoReturn

from c2o_model.keys import ConfigError

TIMEOUT = timedelta(minutes=30)  # as Detectron2's launch
FIRST_PORT, PORTS = 10000, 10000  # below the ports that systems hand out by themselves


@dataclass(frozen=True)
class Place:
    """Process ``rank`` of ``world``, number ``local_rank`` on its machine; the group meets at ``url``.

    starter: who has started the processes, for messages.
    """

    rank: int
    world: int
    local_rank: int
    url: str
    starter: str = "torchrun"


@dataclass(frozen=True)
class _Started:
    """What the surroundings say: the place, the processes on this machine, and the machines."""

    place: Place
    here: int
    machines: int
    machine: int


def find(args: Namespace, environ: Mapping[str, str]) -> Place | None:
    """The place of this process in a group that is started already; None where it is to start the others itself.

    Args:
        args: num_gpus, num_machines, machine_rank, dist_url, None where not given. They are completed where the
            answer is None.

    Raises:
        ConfigError: an option contradicts the surroundings, or these are incomplete.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        started = _torchrun(environ)
    elif int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in environ:
        started = _srun(environ)
    else:
        _complete(args, 1, 0, "auto")
        return None
    place = started.place
    if args.dist_url is not None:
        place = replace(place, url=args.dist_url)
    _agree("--num-machines", args.num_machines, started.machines, f"machine(s) run what {place.starter} has started")
    _agree("--machine-rank", args.machine_rank, started.machine, f"is what {place.starter} says of this machine")
    if args.num_gpus not in (None, started.here):
        if started.here > 1 or place.starter != "srun":
            _agree(
                "--num-gpus", args.num_gpus, started.here, f"process(es) on this machine {place.starter} has started"
            )
        _complete(args, started.machines, started.machine, _named(place).url)
        return None
    return _named(place)


def join(place: Place, device: str) -> None:
    """Become a member of the group: gloo for MODEL.DEVICE ``cpu``, else nccl, with the GPU of the local rank.

    Raises:
        ConfigError: this machine has no GPU for this process.
    """
    import torch

    if device != "cpu":
        count = torch.cuda.device_count()
        # srun shows each task its own GPU alone where it binds them.
        index = 0 if place.starter == "srun" and count == 1 else place.local_rank
        if index >= count:
            raise ConfigError(
                f"MODEL.DEVICE: {device}, but process {place.local_rank} of this machine sees {count} GPU(s); start "
                "as many as there are GPUs, or use MODEL.DEVICE cpu"
            )
        torch.cuda.set_device(index)
    torch.distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl",
        init_method=place.url,
        rank=place.rank,
        world_size=place.world,
        timeout=TIMEOUT,
    )


def leave(status: int) -> NoReturn:
    """End this process at once: torch's gloo threads abort one in twenty processes that take themselves apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _complete(args: Namespace, machines: int, machine: int, url: str) -> None:
    """Give the options that were left out their values."""
    for name, value in (("num_gpus", 1), ("num_machines", machines), ("machine_rank", machine), ("dist_url", url)):
        if getattr(args, name) is None:
            setattr(args, name, value)


def _agree(option: str, given: int | None, started: int, what: str) -> None:
    if given is not None and given != started:
        raise ConfigError(f"{option}: {given}, but {started} {what}; leave the option out")


def _torchrun(environ: Mapping[str, str]) -> _Started:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environ]
    if missing:
        raise ConfigError(f"RANK, WORLD_SIZE: are set, but {', '.join(missing)} is not; use torchrun, or unset them")
    rank, world = int(environ["RANK"]), int(environ["WORLD_SIZE"])
    here = int(environ.get("LOCAL_WORLD_SIZE", "1"))
    place = Place(rank, world, int(environ.get("LOCAL_RANK", "0")), "env://")
    return _Started(place, here, world // here, int(environ.get("GROUP_RANK", rank // here)))


def _srun(environ: Mapping[str, str]) -> _Started:
    """A step of several tasks. (A batch script sees SLURM_PROCID and SLURM_NTASKS too, but has no tasks beside it.)"""
    tasks, machines = int(environ["SLURM_STEP_NUM_TASKS"]), int(environ.get("SLURM_STEP_NUM_NODES", "1"))
    machine = int(environ.get("SLURM_NODEID", "0"))
    here = _tasks_on(machine, environ.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)))
    host = environ.get("MASTER_ADDR") or first_node(environ.get("SLURM_STEP_NODELIST", "localhost"))
    job, step = int(environ.get("SLURM_JOB_ID", "0")), int(environ.get("SLURM_STEP_ID", "0"))
    port = environ.get("MASTER_PORT") or FIRST_PORT + (job * 7 + step) % PORTS
    place = Place(
        int(environ["SLURM_PROCID"]), tasks, int(environ.get("SLURM_LOCALID", "0")), f"tcp://{host}:{port}", "srun"
    )
    return _Started(place, here, machines, machine)


def first_node(nodes: str) -> str:
    """The first of a SLURM node list: ``gpu[003-005,9],cpu1`` -> ``gpu003``."""
    found = re.match(r"(?:[^,\[\]]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", found.group() if found else nodes)


def _tasks_on(machine: int, per_node: str) -> int:
    """Tasks of one machine of a step: ``2(x3),1`` is 2, 2, 2, 1."""
    counts: list[int] = []
    for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", per_node):
        counts += [int(tasks)] * int(times or 1)
    return counts[min(machine, len(counts) - 1)]


def _named(place: Place) -> Place:
    """With an address in the place of a node name that only SLURM knows."""
    found = re.fullmatch(r"tcp://([\w.-]+):(\d+)", place.url)
    if place.starter != "srun" or found is None or _resolves(found[1]):
        return place
    command = ["scontrol", "show", "node", found[1], "--oneliner"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if (address := re.search(r"\bNodeAddr=(\S+)", said)) is None or not _resolves(address[1]):
        raise ConfigError(
            f"SLURM_STEP_NODELIST: {found[1]} has no address here; export MASTER_ADDR with that of node 0"
        )
    return replace(place, url=f"tcp://{address[1]}:{found[2]}")


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
