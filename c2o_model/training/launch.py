"""Several processes on one command line, started by Detectron2's ``launch``: nccl between GPUs, gloo between CPUs.

Called by ``train_net``. Every process runs the same function; what goes wrong in one for a reason that the user can
mend is brought back as one message.
"""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from c2o_model.checkpoint import CheckpointError
from c2o_model.config import ConfigError
from c2o_model.data.errors import DataError
from c2o_model.training.run import TrainingDiverged, TrainingStopped

MENDABLE = (ConfigError, CheckpointError, DataError, TrainingDiverged)
STOPPED = "stopped"  # the note of a process that was asked to stop; the others have numbers


class ProcessError(RuntimeError):
    """What one of the processes said before it ended."""


def launch_processes(work: Callable[[Namespace], None], args: Namespace, device: str) -> None:
    """Run ``work(args)`` in ``args.num_gpus`` processes here, part of ``num_machines`` times as many.

    Args:
        work: a module's function; finds rank and size in Detectron2's ``comm``.
        args: num_gpus, num_machines, machine_rank, dist_url; passed on.
        device: MODEL.DEVICE. With ``cpu`` no process sees a GPU, since Detectron2 picks nccl where it sees one.

    Raises:
        ConfigError: this machine cannot run so many processes.
        ProcessError: a process met an error that the user can mend.
        TrainingStopped: the training was asked to stop.
    """
    on_cpu = device == "cpu"
    if not on_cpu and args.num_gpus > torch.cuda.device_count():
        raise ConfigError(
            f"--num-gpus: {args.num_gpus}, but this machine has {torch.cuda.device_count()} GPU(s); "
            "use fewer, or MODEL.DEVICE cpu"
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise ConfigError("--dist-url: several machines need tcp://HOST:PORT of machine 0")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    with tempfile.TemporaryDirectory() as directory:
        try:
            if on_cpu:
                os.environ["CUDA_VISIBLE_DEVICES"] = ""
            launch(
                _worker,
                args.num_gpus,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(work, args, directory),
            )
        except (ProcessExitedException, ProcessRaisedException) as error:
            # The others fail after the first, cut off from it: what a process has written down is the reason.
            said = sorted(Path(directory).iterdir())
            if not said:
                raise
            if said[0].name == STOPPED:
                raise TrainingStopped(said[0].read_text(encoding="utf-8")) from error
            raise ProcessError(said[0].read_text(encoding="utf-8")) from error
        finally:
            if on_cpu:
                os.environ.pop("CUDA_VISIBLE_DEVICES")
                if visible is not None:
                    os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _worker(work: Callable[[Namespace], None], args: Namespace, directory: str) -> None:
    try:
        work(args)
        comm.synchronize()  # no process leaves while another one still talks to it
    except MENDABLE as error:
        Path(directory, f"{comm.get_rank():06d}").write_text(str(error), encoding="utf-8")
        _leave(2)
    except TrainingStopped as error:
        if comm.get_rank() == 0:
            Path(directory, STOPPED).write_text(str(error), encoding="utf-8")
        comm.synchronize()
        _leave(2)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """End this process at once: torch's gloo threads abort one in twenty processes that take themselves apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
