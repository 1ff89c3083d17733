"""Training and evaluation in two processes against one.

    python -m benchmarks.processes [--repeats 7] [--iterations 20] [--images 16]

Two gloo processes are started once. In turns they train together, sharing each batch of 16, and the first of them
trains alone while the second waits; the same with evaluation, five eval seeds. Printed are the speed-up by the clock,
which is what the machine has to give at that moment, and the CPU seconds of all processes together over those of one,
which is what sharing costs and depends little on who else is there. Both must give the same: losses of
the first iterations to 1e-4 (after them rounding has grown), detections exactly.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils import comm

from benchmarks.workbench import ROOT, Comparison, scenes
from c2o_model.config import load_config
from c2o_model.data.coco import load_manifest_split
from c2o_model.determinism import set_deterministic
from c2o_model.evaluation.run import EvalRow, RunDetections, evaluate
from c2o_model.training import run
from c2o_model.training.launch import launch_processes

PROCESSES = 2
SEEDS = (0, 1, 2, 3, 4)
SAME = 5  # iterations that are compared


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process takes itself for the only one."""
    functions = comm.get_rank, comm.get_world_size, comm.synchronize
    comm.get_rank, comm.get_world_size, comm.synchronize = lambda: 0, lambda: 1, lambda: None
    try:
        yield
    finally:
        comm.get_rank, comm.get_world_size, comm.synchronize = functions


class Turns:
    """Times a piece of work by all processes and by the first alone, in turns; the first keeps the seconds."""

    def __init__(self, work: Callable[[str], Any]) -> None:
        self.work = work
        self.wall: dict[str, list[float]] = {"one": [], "two": []}
        self.cpu: dict[str, list[float]] = {"one": [], "two": []}

    def take(self, repeats: int) -> None:
        for attempt in range(-1, repeats):  # the first pair warms up
            for who in ("one", "two") if attempt % 2 else ("two", "one"):
                comm.synchronize()
                wall, cpu = time.perf_counter(), time.process_time()
                if who == "two":
                    self.work(who)
                    comm.synchronize()
                elif comm.get_rank() == 0:
                    with alone():
                        self.work(who)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                spent = sum(comm.all_gather(cpu if who == "two" or comm.get_rank() == 0 else 0.0))
                if attempt >= 0:
                    self.wall[who].append(wall)
                    self.cpu[who].append(spent)

    def row(self, name: str) -> str:
        faster = Comparison(self.wall["two"], self.wall["one"]).ratio
        dearer = Comparison(self.cpu["one"], self.cpu["two"]).ratio
        one, two = (statistics.median(self.wall[who]) for who in ("one", "two"))
        return f"{name:12} {one:8.2f} {two:8.2f} {faster:>22} {dearer:>22} {len(self.wall['one']):4}"


def work(args: Namespace) -> None:
    """What each of the processes does."""
    set_deterministic()
    run.CURVE_PERIOD = 1
    directory = Path(args.directory)
    train_split, val = (load_manifest_split(Path(args.data), name) for name in ("train", "val"))
    val = val.select(list(range(min(args.images, len(val)))))
    cfg = load_config(ROOT / "configs/models/digits/baseline.yaml", ["SOLVER.MAX_ITER", args.iterations])
    curves: dict[str, Any] = {}
    found: dict[str, list[RunDetections]] = {}

    def training(who: str) -> None:
        place = directory / who
        curves[who] = run.train(
            cfg, seed=0, split=train_split, output=place / "m.safetensors", state_dir=place / "state", recipe=who,
            metadata={},
        )  # fmt: skip

    def evaluation(who: str) -> None:
        rows = [EvalRow("one", 1), EvalRow("four", 4)]
        found[who] = list(evaluate(cfg, directory / "one" / "m.safetensors", val, rows, SEEDS))

    turns = {"training": Turns(training), "evaluation": Turns(evaluation)}
    for one in turns.values():
        one.take(args.repeats)
    if comm.get_rank() == 0:
        for name, one in turns.items():
            print(one.row(name), flush=True)
        check(curves, found)


def check(curves: dict[str, Any], found: dict[str, list[RunDetections]]) -> None:
    """The same losses to 1e-4 in the first iterations, the same detections exactly."""
    for one, two in zip(curves["one"][:SAME], curves["two"][:SAME], strict=True):
        losses = [name for name in one if name.startswith("loss")]
        np.testing.assert_allclose([one[n] for n in losses], [two[n] for n in losses], rtol=1e-4)
    for a, b in zip(found["one"], found["two"], strict=True):
        for name in ("image_id", "box", "score", "label"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="timed pairs of each kind")
    parser.add_argument("--iterations", type=int, default=20, help="of a training")
    parser.add_argument("--images", type=int, default=16, help="of an evaluation")
    args = parser.parse_args()
    split = scenes("train")
    print(f"{'':12} {'1 proc s':>8} {'2 proc s':>8} {'speed-up (quartiles)':>22} {'CPU s, 2 over 1':>22} {'n':>4}")
    with tempfile.TemporaryDirectory(prefix="c2o-benchmark-") as directory:
        group = {"num_gpus": PROCESSES, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
        own = {**vars(args), "data": str(split.image_root), "directory": directory}
        launch_processes(work, Namespace(**group, **own), "cpu")


if __name__ == "__main__":
    main()
