"""Whether a build can be driven from here: the executor plugin, the profile, SLURM's commands, its controller."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from c2o_evidence.cluster.naming import job_prefix
from c2o_evidence.cluster.queue import ask
from c2o_evidence.errors import ClusterError

PROFILE = Path("profiles", "slurm")
COMMANDS = ("sbatch", "squeue", "scancel")
QUESTION = ("squeue", "--noheader", "--format=%i", "--me")
AWAY_S = 6 * 3600.0  # a maintenance
PLUGIN = "snakemake_executor_plugin_slurm"
OWN_PROFILE = ("--workflow-profile", "--profile")
OWN_PREFIX = ("--slurm-jobname-prefix",)


def require_slurm(root: Path, extra: Sequence[str]) -> None:
    """Look at all that a build on SLURM needs, before anything is planned.

    Raises:
        ClusterError: something is missing; says what to do.
    """
    if not given(extra, OWN_PROFILE) and not (root / PROFILE).is_dir():
        raise ClusterError(
            f"{PROFILE}: is missing; restore it from the repository, or name a profile of your own with "
            "--workflow-profile DIR"
        )
    if find_spec(PLUGIN) is None:
        raise ClusterError("Snakemake's executor plugin is not installed: pip install " + PLUGIN.replace("_", "-"))
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise ClusterError(
            f"SLURM: {', '.join(missing)} not found on PATH; type this on a submit host (login node) of the cluster, "
            "or leave out `--on slurm` to build on this machine"
        )
    try:
        ask(*QUESTION)
    except ClusterError as error:
        raise ClusterError(
            f"SLURM's controller does not answer: {error}, and type the command again once it says UP; "
            "what runs on the cluster meanwhile is not lost"
        ) from error


def wait_for_slurm(say: Callable[[str], None], timeout: float = AWAY_S, pause: float = 1.0) -> None:
    """Return once the controller answers; asked ever more rarely, once a minute at last.

    Raises:
        ClusterError: it has not answered for `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    told = False
    while True:
        try:
            ask(*QUESTION)
            return
        except ClusterError as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                say(f"waiting for SLURM: {error}")
            told = True
        time.sleep(pause)
        pause = min(2 * pause, 60.0)


def slurm_arguments(root: Path, suite: str, extra: Sequence[str]) -> list[str]:
    """The arguments for Snakemake: the profile and the job names, where they are not given, and `extra`."""
    profile = [] if given(extra, OWN_PROFILE) else ["--workflow-profile", str(PROFILE)]
    prefix = [] if given(extra, OWN_PREFIX) else ["--slurm-jobname-prefix", job_prefix(root, suite)]
    return [*profile, *prefix, *extra]


def given(extra: Sequence[str], names: Sequence[str]) -> bool:
    """Whether one of the options is among the arguments."""
    return any(argument.split("=", 1)[0] in names for argument in extra)
