"""What this project's rules cost beside a plain Snakemake workflow with the same DAG, and how both grow.

    python -m benchmarks.dag_scale [--checkpoints 100 1000 3000] [--only dry-run] [--repeats 5]

A suite of 1,000 checkpoints has 10,000 runs. Both directories (benchmarks/dag_directories.py) declare the same jobs and
files, which is checked; the plain one (benchmarks/bare_dag.smk) imports no project code and has constants for params.
Each measurement is a process of its own. The contenders take turns, and whose turn is first changes, so that a slow
minute of a shared machine hits both alike. Seconds are of the processor (user and system), which a neighbour changes
less than those of the clock; both are printed. A ratio is that of the medians, with the quartiles of the pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dag_directories import (
    ROOT,
    RUNS_PER_CHECKPOINT,
    TARGET,
    environment,
    fabricate,
    make_bare,
    make_ours,
)
from benchmarks.scale import exponent

BARE, OURS = "bare", "ours"
SNAKEMAKE = ("-m", "snakemake")
GROUPS = ("--groups", "evaluate={suite}-{experiment}", "--group-components", "{suite}-{experiment}=5")  # as for SLURM
# Name, directory, arguments of Python, and what the output must contain for the measurement to be one.
CASES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "parse": ("undone", (*SNAKEMAKE, TARGET, "--list-rules"), "evaluate"),
    "dry-run": ("undone", (*SNAKEMAKE, TARGET, "--dry-run"), "This was a dry-run"),
    "grouped": ("undone", (*SNAKEMAKE, TARGET, "--dry-run", *GROUPS), "This was a dry-run"),
    "no-op": ("done", (*SNAKEMAKE, TARGET), "Nothing to be done"),
}


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of the processor, seconds of the clock, most bytes resident."""

    cpu: float
    clock: float
    memory: float


def cost_of(arguments: tuple[str, ...], place: Path, expected: str) -> Cost:
    """Run Python with the arguments to its end, on one thread.

    Raises SystemExit where it fails or does not print what is expected.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=place, env=environment(place), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        clock = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if process.returncode != 0 or expected not in text:
        raise SystemExit(f"{place}: {' '.join(arguments)}: status {process.returncode}\n{text[-4000:]}")
    return Cost(used.ru_utime + used.ru_stime, clock, used.ru_maxrss * 1024)


def prepare(place: Path, checkpoints: int, tree: Path) -> dict[str, int]:
    """`undone` and `done`, each with both contenders; the size of their one DAG."""
    sizes = []
    for name, make in ((OURS, lambda path: make_ours(path, checkpoints, tree)), (BARE, None)):
        for state in ("undone", "done"):
            (place / state).mkdir(parents=True, exist_ok=True)
            (make or (lambda path: make_bare(path, checkpoints)))(place / state / name)
        sizes.append(fabricate(place / "done" / name))
    assert sizes[0] == sizes[1], f"not the same DAG: {sizes}"
    return sizes[0]


def compare(case: str, place: Path, repeats: int, uncounted: int) -> dict[str, list[Cost]]:
    """Costs of both contenders, pair by pair, after turns that fill caches and are not counted."""
    state, arguments, expected = CASES[case]
    found: dict[str, list[Cost]] = {OURS: [], BARE: []}
    for number in range(-uncounted, repeats):
        for name in (OURS, BARE) if number % 2 else (BARE, OURS):
            cost = cost_of(arguments, place / state / name, expected)
            if number >= 0:
                found[name].append(cost)
    return found


def ratio(found: dict[str, list[Cost]], what: str) -> str:
    """`1.08 (1.05 to 1.10)`: ours over bare."""
    ours, bare = ([float(getattr(cost, what)) for cost in found[name]] for name in (OURS, BARE))
    pairs = [a / b for a, b in zip(ours, bare, strict=True)]
    low, high = statistics.quantiles(pairs, n=4, method="inclusive")[::2] if len(pairs) > 1 else (pairs[0], pairs[0])
    return f"{statistics.median(ours) / statistics.median(bare):.2f} ({low:.2f} to {high:.2f})"


def median(costs: list[Cost], what: str) -> float:
    return statistics.median(float(getattr(cost, what)) for cost in costs)


def report(case: str, found: dict[str, list[Cost]]) -> str:
    ours, bare = found[OURS], found[BARE]
    return (
        f"  {case:8} processor {median(ours, 'cpu'):6.2f} s, bare {median(bare, 'cpu'):6.2f} s: {ratio(found, 'cpu')}; "
        f"clock {median(ours, 'clock'):6.2f} s: {ratio(found, 'clock')}; "
        f"memory {median(ours, 'memory') / 2**20:4.0f} MiB, bare {median(bare, 'memory') / 2**20:4.0f} MiB: "
        f"{ratio(found, 'memory')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[100, 1_000, 3_000], help="multiples of 20")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--uncounted", type=int, default=1, help="pairs before those that count")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another checkout, to compare with")
    arguments = parser.parse_args()
    seconds: dict[tuple[str, str], list[float]] = {}
    for checkpoints in arguments.checkpoints:
        with tempfile.TemporaryDirectory(prefix="c2o-dag-") as temporary:
            size = prepare(Path(temporary), checkpoints, arguments.tree.resolve())
            told = ", ".join(f"{count:,} {what}" for what, count in size.items())
            print(f"{checkpoints:,} checkpoints, {checkpoints * RUNS_PER_CHECKPOINT:,} runs: {told}", flush=True)
            for case in arguments.only:
                found = compare(case, Path(temporary), arguments.repeats, arguments.uncounted)
                print(report(case, found), flush=True)
                for name, costs in found.items():
                    seconds.setdefault((case, name), []).append(median(costs, "cpu"))
    if len(arguments.checkpoints) > 1:
        for case in arguments.only:
            grows = [f"{name} {exponent(arguments.checkpoints, seconds[case, name]):.2f}" for name in (OURS, BARE)]
            print(f"{case:10} grows with exponent {', '.join(grows)}")


if __name__ == "__main__":
    main()
