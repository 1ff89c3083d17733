"""One process of a group: ``python -m c2o_model.worker DIRECTORY [RANK SIZE PARENT]``, started by ``c2o_model.group``.

DIRECTORY holds what to do, PARENT is the process that watches. Without numbers srun has started the process, on one of
several machines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from c2o_model.determinism import pin_environment, set_deterministic
from c2o_model.group import RESULT, STOPPED, TASK, write_note
from c2o_model.lifeline import end_with_parent
from c2o_model.rendezvous import Place, find, join, leave

FAILED, MENDABLE = 1, 2  # statuses


def main(argv: Sequence[str]) -> None:
    """Do the work, leave the result (the first process) or a note of what went wrong, and end."""
    end_with_parent("the job", int(argv[3]) if argv[1:] else None)
    pin_environment()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: asked.append(number))
    for number in (signal.SIGINT, signal.SIGHUP):  # of a terminal: the process that watches decides
        signal.signal(number, signal.SIG_IGN)
    directory = Path(argv[0])
    rank = int(argv[1] if argv[1:] else os.environ["SLURM_PROCID"])
    try:
        place = _place(directory, argv[1:])
        task = json.loads((directory / TASK).read_text(encoding="utf-8"))
        join(place, task["device"])
        set_deterministic()
        result = WORKS[task["work"]](task["values"], directory, rank == 0, lambda: bool(asked))
        if rank == 0:
            (directory / RESULT).write_text(json.dumps(result), encoding="utf-8")
        _together()
    except Exception as error:
        to_mend = type(error).__module__.startswith("c2o_model.")  # such messages are written for the user
        write_note(directory, rank, error, str(error) if to_mend else traceback.format_exc(), to_mend)
        if type(error).__name__ == STOPPED:  # which all have met, and none is to cut off another
            _together()
        leave(MENDABLE if to_mend else FAILED)
    leave(0)


def _place(directory: Path, numbers: Sequence[str]) -> Place:
    if numbers:
        rank, size = map(int, numbers[:2])
        return Place(rank, size, rank, f"file://{directory / 'meeting'}", "group")
    options = Namespace(num_gpus=None, num_machines=None, machine_rank=None, dist_url=None)
    place = find(options, {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")})
    assert place is not None, "srun has started one process only"
    return place


def _together() -> None:
    """No process leaves while another one still talks to it."""
    from detectron2.utils import comm

    comm.synchronize()


def _train(values: Mapping[str, Any], directory: Path, chief: bool, stop: Callable[[], bool]) -> Mapping[str, Any]:
    from c2o_model.training.shared import Training

    outcome = Training.of(values).run(lambda now: None, stop)  # progress.json tells who watches
    return {"curve": outcome.curve, "attention": list(outcome.attention)}


def _evaluate(values: Mapping[str, Any], directory: Path, chief: bool, stop: Callable[[], bool]) -> Mapping[str, Any]:
    from c2o_model.evaluation.shared import Evaluation, save_runs

    kernels: list[str] = []
    runs = Evaluation.of(values).run(kernels.extend)
    if chief:
        return {"runs": save_runs(directory, runs), "attention": kernels}
    for _ in runs:  # every process gathers
        pass
    return {}


WORKS: dict[str, Callable[[Mapping[str, Any], Path, bool, Callable[[], bool]], Mapping[str, Any]]] = {
    "train": _train,
    "evaluate": _evaluate,
}

if __name__ == "__main__":
    main(sys.argv[1:])
