"""`c2o run`: what may be typed, handed to c2o_evidence.run or, for a cluster, to c2o_evidence.cluster.drive."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

SUMMARY = "build a deliverable"
HELP = """\
Runs `snakemake deliverables/SUITE`, shows its stages, the running jobs with loss, AP and the time that is left, and
what fails (plain lines without a terminal, or with C2O_VIEW=plain), and keeps the whole output in logs/SUITE/. Ctrl-C
stops cleanly; the same command goes on where it stopped, also after a crash. What follows SUITE goes to Snakemake.

With `--on slurm` the jobs run on the cluster (profiles/slurm says how; docs/cluster.md says what to edit there).
SLURM jobs that a killed run has left are cancelled first, or waited for; a driver that was killed or stands still is
started again; Ctrl-C cancels the SLURM jobs. Trainings go on from the state that they have saved.

C2O_TRACK=mlflow,wandb shows the results of a build that succeeded in these trackers (`c2o track`).

examples:
  c2o run quick                                a first look, a few minutes
  c2o run step1_5seed -n                       only say what would be done
  c2o run step1_5seed --cores 8
  c2o run step1_5seed --on slurm               on the cluster; type it on a login node, in tmux or screen
  c2o run step1_5seed --on slurm --jobs 50 --orphans wait
  c2o run step1_5seed --on slurm --workflow-profile my/profile       a profile of your own"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_cluster_arguments(parser)
    parser.add_argument("suite", metavar="SUITE", help="a file of configs/suites, without .yaml (`c2o status`)")
    parser.add_argument("snakemake", nargs=argparse.REMAINDER, metavar="…", help="arguments for Snakemake")


def _add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--on", choices=["slurm"], help="where the jobs run; without it on this machine")
    parser.add_argument(
        "--orphans",
        choices=["cancel", "wait"],
        help="SLURM jobs of a killed run that still run: cancel them (default), or wait for them",
    )
    parser.add_argument(
        "--patience",
        type=_positive,
        metavar="SECONDS",
        help="without progress and without a SLURM job after which the driver is started again (default 900)",
    )
    parser.add_argument(
        "--restarts", type=_count, metavar="N", help="of the driver in a row, with no finished step between (default 3)"
    )


def run(arguments: argparse.Namespace, root: Path) -> int:
    if os.environ.get("C2O_TRACK"):  # a wrong name is told now, not after hours
        from c2o_evidence.trackers.command import wanted

        wanted(os.environ)
    # Behind SUITE as well as before it: argparse leaves all that stands there to Snakemake.
    behind = argparse.ArgumentParser(prog="c2o run", add_help=False, allow_abbrev=False)
    _add_cluster_arguments(behind)
    head, dashes, tail = _split(list(arguments.snakemake))
    arguments, extra = behind.parse_known_args(head, arguments)
    extra = [*extra, *tail] if dashes else extra
    if arguments.on is None:
        chosen = [name for name in ("orphans", "patience", "restarts") if getattr(arguments, name) is not None]
        if chosen:
            behind.error(f"--{chosen[0]}: only with --on slurm")
        from c2o_evidence.run import run_suite

        return _tracked(run_suite(arguments.suite, extra, root), arguments.suite, extra, root)
    from c2o_evidence.cluster.drive import RESTARTS, Driving, run_on_slurm
    from c2o_evidence.cluster.watchdog import PATIENCE_S

    driving = Driving(
        keep_orphans=arguments.orphans == "wait",
        patience=PATIENCE_S if arguments.patience is None else arguments.patience,
        restarts=RESTARTS if arguments.restarts is None else arguments.restarts,
    )
    return _tracked(run_on_slurm(arguments.suite, extra, root, driving), arguments.suite, extra, root)


def _tracked(code: int, suite: str, extra: list[str], root: Path) -> int:
    """The exit code of a build, which the trackers of C2O_TRACK are told of if it was one and succeeded."""
    from c2o_evidence.run import only_tells

    if code == 0 and os.environ.get("C2O_TRACK") and not only_tells(extra):
        from c2o_evidence.trackers.command import track_built

        track_built(suite, root)
    return code


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before and behind a `--`, which hands all behind it to Snakemake untouched."""
    if "--" not in arguments:
        return arguments, False, []
    place = arguments.index("--")
    return arguments[:place], True, arguments[place + 1 :]


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return value
