"""Writes Snakemake's notes on files that it did not make itself in this directory, for `c2o adopt`.

In, as JSON on stdin: `targets`, what the jobs are needed for; `current` and `stale`, outputs that stand for their job:
checked against its record (with the seconds that it took), and found to be something else. Out: for each current job
the note that it would have left itself (rule, parameters, inputs), so that a later edit re-runs what depends on it. A
stale job, and one that neither was checked nor has a note that fits, is marked as begun and not finished if anything of
it lies there: without a note Snakemake takes that for current; so marked it makes it again, and until then nothing is
deleted. Prints the counts as JSON.

`snakemake --touch --forceall` would do for the first part if it did not touch the files, wait 0.1 s for each job, and
note whatever else the targets need. There is no public way to the second part. So this reads the plan and calls the
persistence of Snakemake itself; tests/workflow/test_adopt.py tells when a new Snakemake has moved them.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    RemoteExecutionSettings,
    ResourceSettings,
)

ANY_SIZE = 1 << 62  # bytes; as in profiles/default: a file that looks new is hashed before anything is made again


def plan(api: SnakemakeApi, targets: list[str]) -> Any:
    """The workflow with the jobs that the targets need, as `snakemake TARGETS` would see them."""
    flow = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
    flow.dag(DAGSettings(targets=frozenset(targets), max_checksum_file_size=ANY_SIZE))
    workflow = flow._workflow
    workflow.execution_settings = ExecutionSettings(lock=False)
    workflow.remote_execution_settings = RemoteExecutionSettings()
    workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=False, nolock=True)
    workflow._build_dag()
    return workflow


def write_notes(workflow: Any, current: dict[str, float], stale: set[str]) -> dict[str, int]:
    """First the marks, then the notes: killed in between, nothing that was not checked counts as made."""
    persistence = workflow.persistence
    made = [job for job in workflow.dag.jobs if not current.keys().isdisjoint(job.output)]
    other = [job for job in workflow.dag.jobs if current.keys().isdisjoint(job.output) and lies_there(job)]
    begun = [job for job in other if not stale.isdisjoint(job.output) or needs_note(workflow, job)]
    for job in begun:
        persistence.started(job)
    to_note = [job for job in made if needs_note(workflow, job)]
    for job in to_note:
        workflow.async_run(persistence.finished(job))
        note_duration(persistence, job, max(current.get(path, 0.0) for path in job.output))
    put_in_order(workflow, made)
    return {"noted": len(to_note), "noted_before": len(made) - len(to_note), "to_be_made_again": len(begun)}


def lies_there(job: Any) -> bool:
    return any(os.path.lexists(path) for path in job.output)


def note_duration(persistence: Any, job: Any, seconds: float) -> None:
    """Snakemake has taken now for the begin and the file's time for the end; its report shows the difference."""
    persistence.deactivate_cache()  # which remembers that there was no note
    for path in job.output:
        note = persistence.metadata(path)
        note.starttime = note.endtime - seconds
        persistence._write_record(str(path), note)


def put_in_order(workflow: Any, made: list[Any]) -> None:
    """Touch files that look older than what they were made from, as after a copy: Snakemake makes such files again
    where no profile tells it to hash large inputs.
    """
    known = set(made)
    for job in (job for level in workflow.dag.toposorted() for job in level if job in known):
        newest = newest_input(workflow.dag, job)
        for path in job.output:
            if os.path.lexists(path) and mtime(path) < newest:
                path.touch()


def newest_input(dag: Any, job: Any) -> float:
    """When the newest of what a job was made from was written; for a file that is not kept, what that was made from."""
    times = [mtime(path) for path in job.input if os.path.lexists(path)]
    for maker, files in dag.dependencies[job].items():
        if not any(os.path.lexists(path) for path in files):
            times.append(newest_input(dag, maker))
    return max(times, default=0.0)


def mtime(path: Any) -> float:
    """As Snakemake sees it: that of a directory's time stamp file where it has left one."""
    stamp = os.path.join(path, ".snakemake_timestamp")
    return os.lstat(stamp if os.path.isfile(stamp) else path).st_mtime


def needs_note(workflow: Any, job: Any) -> bool:
    """Whether Snakemake has no note of the job, or one that would make it run again."""
    persistence = workflow.persistence
    if workflow.async_run(persistence.incomplete(job)) or not persistence.has_metadata(job):
        return True
    return bool(persistence.params_changed(job)) or any(persistence.input_changed(job))


def main() -> None:
    asked = json.load(sys.stdin)
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        try:
            counts = write_notes(plan(api, asked["targets"]), asked["current"], set(asked["stale"]))
        except Exception as error:
            sys.exit(f"Error: {type(error).__name__}: {error}")  # Snakemake's own printing is off, as its log is
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
