"""Resumable training state: everything that the next iteration depends on, without pickle.

One ``.safetensors`` file holds model, optimiser, average and generator tensors; its metadata holds iteration, schedule
and recipe as JSON. File and digest are written one after the other under a name of their own, and only then the file
before them goes: a kill at any moment leaves a whole state, old or new. The directory is locked while a process
trains in it.

Called by the training loop. Source: evidence.md, "Determinism".
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from c2o_model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from c2o_model.training.ema import WeightAverage

PREFIX, SUFFIX = "state-", ".safetensors"


def save_state(
    directory: Path,
    *,
    recipe: str,
    iteration: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    average: WeightAverage | None,
    curve: list[dict[str, float]],
    row: dict[str, Any],
) -> None:
    """Write the state after ``iteration`` iterations are complete; ``row`` is what the curve's next row has so far."""
    packed = optimizer.state_dict()
    tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, slots in packed["state"].items():
        tensors.update({f"optimizer/{index}/{name}": value for name, value in slots.items()})
    if average is not None:
        tensors.update({f"average/{k}": v for k, v in average.state.items()})
    tensors["generator/torch"] = torch.get_rng_state()
    if next(model.parameters()).is_cuda:
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    metadata = {
        "recipe": recipe,
        "iteration": str(iteration),
        "scheduler": json.dumps(scheduler.state_dict(), sort_keys=True),
        "groups": json.dumps(
            [{k: v for k, v in g.items() if k in ("lr", "initial_lr")} for g in packed["param_groups"]]
        ),
        "curve": json.dumps(curve),
        "row": json.dumps(row),
    }
    path = directory / f"{PREFIX}{iteration:08d}{SUFFIX}"
    save_checkpoint(path, tensors, metadata)
    for old in directory.glob(f"*{PREFIX}*"):  # also what a killed process had begun to write
        if not old.name.startswith(path.name):
            old.unlink()


def load_state(
    directory: Path,
    *,
    recipe: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    average: WeightAverage | None,
) -> tuple[int, list[dict[str, float]], dict[str, Any]]:
    """Restore a state of the same recipe. Returns iterations done, the curve so far and what its next row has of them;
    (0, [], {}) where there is no state to use.

    A state of another recipe, or one that does not pass its digest, is not used and training starts from the
    beginning; the log says why.
    """
    for path in sorted(directory.glob(f"{PREFIX}*{SUFFIX}"), reverse=True):
        try:
            tensors, metadata = read_checkpoint(path)
        except CheckpointError as error:
            print(f"resume: not from here: {error}", file=sys.stderr)
            continue
        if metadata.get("recipe") == recipe:
            break
        print(f"resume: {path} belongs to another recipe; starting from iteration 0", file=sys.stderr)
        return 0, [], {}
    else:
        return 0, [], {}
    model.load_state_dict(_below(tensors, "model/"))
    packed = optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(tensors, "optimizer/").items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = value
    # Fused AdamW walks parameter and state alike in memory, and files hold tensors row by row: restore each layout.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, slot_values in slots.items():
        for slot, value in slot_values.items():
            if value.shape == parameters[index].shape:
                slot_values[slot] = torch.empty_like(parameters[index]).copy_(value)
    for group, saved in zip(packed["param_groups"], json.loads(metadata["groups"]), strict=True):
        group.update(saved)
    optimizer.load_state_dict({"state": slots, "param_groups": packed["param_groups"]})
    scheduler.load_state_dict(json.loads(metadata["scheduler"]))
    if average is not None:
        average.load(_below(tensors, "average/"))
    torch.set_rng_state(tensors["generator/torch"])
    if "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
    return int(metadata["iteration"]), json.loads(metadata["curve"]), json.loads(metadata.get("row", "{}"))


@contextmanager
def training_lock(directory: Path) -> Iterator[None]:
    """Hold the directory for one trainer. A second one waits and says for whom; the kernel frees a dead one's lock."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "a+") as handle:
        announced = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not announced:
                    handle.seek(0)
                    owner = handle.read().strip() or "unknown"
                    print(f"{directory}: process {owner} is training here; waiting for it", file=sys.stderr, flush=True)
                    announced = True
                time.sleep(0.5)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
