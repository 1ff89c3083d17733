"""`c2o track`: shows results that are there in a tracker; `c2o run` does the same at its end if C2O_TRACK says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from c2o_evidence.errors import EvidenceError
from c2o_evidence.outputs import bundle_around
from c2o_evidence.suite import load_resolved_suite
from c2o_evidence.trackers.runs import SUITE, places_of, read_runs

TRACKERS = ("tensorboard", "mlflow", "wandb")
VARIABLE = "C2O_TRACK"


def track(what: str, to: str, root: Path, uri: str | None = None, project: str | None = None) -> str:
    """Write the runs of `what` (a suite's name, `results/SUITE` or a bundle) to a tracker; what was done, as a line.

    Args:
        uri: where: for MLflow its tracking URI, for the others a directory. Default: `place_of`.
        project: MLflow's experiment, W&B's project. Default: c2o-SUITE.

    Raises:
        EvidenceError: there are no results, they are damaged, the tracker cannot be used, or it would write into a
            bundle.
    """
    if uri is not None and Path(uri).is_file():
        raise EvidenceError(f"--uri {uri}: is a file; name a directory, which is made if it is not there")
    base, suite = find_results(what, root)
    place, project = uri or place_of(to, suite, root, os.environ), project or f"c2o-{suite}"
    if "://" not in place and (bundle := bundle_around(Path(place))) is not None:
        raise EvidenceError(f"{place}: lies in the bundle {bundle}, which holds evidence alone; give another --uri")
    runs = read_runs(base, suite)
    if to == "mlflow":
        from c2o_evidence.trackers import mlflow_store

        written, known = mlflow_store.log_runs(runs, place, project)
    elif to == "wandb":
        from c2o_evidence.trackers import wandb_dir

        written, known = wandb_dir.log_runs(runs, Path(place), project)
    else:
        from c2o_evidence.trackers.tensorboard import write_run

        try:
            written, known = len([write_run(run, Path(place)) for run in runs]), 0
        except ImportError as error:
            raise EvidenceError(f"--to tensorboard: {error.name or error} is not installed; make setup") from None
    return f"{to}: {written} run(s) written, {known} there already: {place}{_hint(to, place)}"


def find_results(what: str, root: Path) -> tuple[Path, str]:
    """The directory with the records of `what`, and the suite that it belongs to.

    Raises:
        EvidenceError: there is none.
    """
    places = [Path(what)] if "/" in what or what in (".", "..") else []
    places += [root / part / what for part in ("results", "deliverables")] if SUITE.fullmatch(what) else []
    for place in places:
        if places_of(place):
            return place, _suite_of(place)
    looked = ", ".join(map(str, places)) or "nothing"
    raise EvidenceError(f"{what}: has no results here (looked in {looked}); `c2o status` lists what there is")


def _suite_of(place: Path) -> str:
    """The suite of results: a bundle says it itself, whatever its directory is called."""
    resolved = place / "suite.yaml"
    return load_resolved_suite(resolved).name if resolved.is_file() else place.resolve().name


def place_of(to: str, suite: str, root: Path, environ: Mapping[str, str]) -> str:
    """Where a tracker keeps its runs if nobody says: below results/, apart from all evidence."""
    if to == "mlflow":
        return environ.get("MLFLOW_TRACKING_URI") or (root / "results" / ".state" / "mlflow").resolve().as_uri()
    if to == "wandb":
        return environ.get("WANDB_DIR") or str(root / "results" / ".state" / "wandb")
    return str(root / "results" / suite / "tensorboard")


def wanted(environ: Mapping[str, str]) -> list[str]:
    """The trackers that C2O_TRACK names, separated by commas.

    Raises:
        EvidenceError: a name is unknown.
    """
    names = [name.strip() for name in environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise EvidenceError(f"{VARIABLE}: {name!r} is no tracker; known: {', '.join(TRACKERS)}")
    return names


def track_built(suite: str, root: Path, stream: TextIO | None = None) -> None:
    """After a build: tell the trackers that C2O_TRACK names. What goes wrong is a line; the build has succeeded."""
    out = sys.stdout if stream is None else stream
    for name in wanted(os.environ):
        try:
            print(track(suite, name, root), file=out)
        except (EvidenceError, OSError) as error:
            print(f"{VARIABLE}: {error}; the results are whole: c2o track {suite} --to {name}", file=out)


def _hint(to: str, place: str) -> str:
    """What to type to look at it."""
    ui = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {place}"
    return {
        "tensorboard": f" (tensorboard --logdir {place})",
        "mlflow": f" ({ui})" if place.startswith("file:") or "://" not in place else "",
        "wandb": f" (wandb sync {place}/wandb/offline-run-* uploads them)",
    }[to]
