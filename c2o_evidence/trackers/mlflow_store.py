"""MLflow: the runs of a suite as an experiment of a tracking server, a database, or a directory (its file store).

A run is known by its key, the tag `c2o.key`: one that is there whole is left alone, one that was begun and not ended
(the writer was killed) goes and is written again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from c2o_evidence.errors import EvidenceError
from c2o_evidence.trackers.runs import TrackedRun

KEY = "c2o.key"
METRICS, PARAMS = 1000, 100  # that a request may have
LONGEST = 6000  # characters of a parameter
_ODD = re.compile(r"[^\w\-. /:]")  # what MLflow takes in no name


def log_runs(runs: Iterable[TrackedRun], uri: str, project: str) -> tuple[int, int]:
    """Write the runs that are not there yet: how many were written, how many were there.

    Args:
        uri: as MLflow's tracking URI: `http://…`, `sqlite:///…`, `file:///…` or a path.
        project: name of the MLflow experiment.

    Raises:
        EvidenceError: MLflow is not installed, or does not take them.
    """
    client = _client(uri)
    from mlflow.exceptions import MlflowException

    try:
        experiment = client.get_experiment_by_name(project)
        place = experiment.experiment_id if experiment else client.create_experiment(project)
        there = {run.data.tags.get(KEY): run.info for run in _runs(client, place)}
        written = known = 0
        for run in runs:
            if (old := there.get(run.key)) and old.status == "FINISHED":
                known += 1
                continue
            if old:
                client.delete_run(old.run_id)
            _log(client, place, run)
            written += 1
    except (MlflowException, OSError) as error:
        raise EvidenceError(
            f"MLflow at {uri}: {error}; what was written so far stays, the same command goes on"
        ) from error
    return written, known


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    if "://" not in uri or uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which newer releases ask for
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise EvidenceError(
            f"--to mlflow: {error.name or error} is not installed; `make extras`, or pip install mlflow-skinny"
        ) from None
    try:
        return MlflowClient(tracking_uri=uri)
    except ImportError as error:  # a database needs packages that the small MLflow leaves out
        raise EvidenceError(f"MLflow at {uri}: needs {error.name}; pip install mlflow, or give a directory") from None


def _runs(client: Any, place: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([place], max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _log(client: Any, place: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param, RunTag

    start, end = round(run.started * 1000), round(run.ended * 1000)
    files = {f"c2o.file.{name}": path for name, path in run.files.items()}
    tags = {**run.tags, **files, KEY: run.key}
    made = client.create_run(place, start_time=start, run_name=run.name, tags={_name(k): v for k, v in tags.items()})
    number = made.info.run_id
    metrics = [
        Metric(_name(name), value, end, step)
        for step, values in (*run.points, (0, run.final))
        for name, value in values.items()
    ]
    params = [Param(_name(name), str(value)[:LONGEST]) for name, value in run.params.items()]
    for first in range(0, len(params), PARAMS):
        client.log_batch(number, params=params[first : first + PARAMS])
    for first in range(0, len(metrics), METRICS):
        client.log_batch(number, metrics=metrics[first : first + METRICS])
    client.log_batch(number, tags=[RunTag("c2o.metrics", str(len(metrics)))])
    client.set_terminated(number, "FINISHED", end_time=end)


def _name(text: str) -> str:
    return _ODD.sub("_", text)
