"""The training itself, apart from train.py so that a job that need not train does not load torch."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from c2o_evidence.atomic import atomic_write
from c2o_evidence.model_config import flat
from c2o_evidence.progress import note_host
from c2o_evidence.trackers.tensorboard import FOLDER, LiveEvents
from c2o_evidence.tsv import write_tsv
from c2o_model.determinism import set_deterministic
from c2o_model.stopping import StopRequest
from c2o_model.training.run import TrainingStopped
from c2o_model.training.shared import Outcome, Training, train_shared

if TYPE_CHECKING:
    from job import Job

    from c2o_evidence.suite import Recipe

TO_BE_ENDED_S = 120  # that SLURM may take to end a job that it runs again


def train_model(
    running: Job, recipe: Recipe, parents: Mapping[str, Path], came_from: Mapping[str, str]
) -> tuple[tuple[str, ...], Outcome]:
    """Train to the job's outputs; what of it need not give the same bits twice, and what came out.

    The checkpoint says what it is by digests alone, so that it is the same file in every suite that has this recipe.
    """
    unsteady = set_deterministic()
    snakemake, suite = running.snakemake, running.suite
    out, w = snakemake.output, snakemake.wildcards
    metadata = {
        "train_seed": str(recipe.seed),
        "recipe_sha256": recipe.digest,
        "config_sha256": recipe.config_sha256,
        "data_sha256": recipe.data_sha256,
        "code_sha256": recipe.code_sha256,
        **came_from,
    }
    state = Path("results", ".state", suite.name, w.experiment, f"seed{w.seed}")
    # What a training had begun to write when it was killed; it bears the number of a process that is no more.
    for left in (*Path(out.model).parent.glob(".model.safetensors*.tmp"), *state.glob("progress.*.tmp")):
        left.unlink()
    told = False
    place = f"train/{w.experiment}/seed{w.seed}"
    events = LiveEvents(running.results / FOLDER / place, state / "curve.jsonl")

    def progress(now: Mapping[str, Any]) -> None:
        nonlocal told
        if not told:
            note_host(state)
            events.begin(place, flat(recipe.config))
            told = True
        events.follow()
        ap = "" if now.get("ap") is None else f", AP {now['ap']:.1f}"
        print("iteration {iteration} of {total}: loss {loss:.3f}".format(**now) + ap, flush=True)
        if now["iteration"] == now["total"]:
            running.end_with_parent()  # from here on outputs are written

    training = Training(
        config=recipe.config,
        seed=recipe.seed,
        data=Path(snakemake.input.data).parent,
        output=Path(out.model),
        state_dir=state,
        feature_dir=Path("results", ".state", "features"),
        recipe=recipe.digest,
        metadata=metadata,
        teacher_config=suite.config_of(recipe.teacher.experiment) if recipe.teacher else None,
        **parents,
    )
    processes, machines = suite.experiment(w.experiment).processes, snakemake.resources.get("nodes", 1)
    # In between it may outlive Snakemake until its state is saved.
    margin = snakemake.resources.get("stop_margin_s")
    stop = StopRequest(margin, on_first=lambda: running.end_with_parent(signal.SIGTERM))
    with stopping(running, stop):
        outcome = train_shared(
            training, processes, snakemake.threads, machines, progress=progress, stop=stop, keep=running.locks
        )
    atomic_write(out.config, yaml.safe_dump(recipe.config))
    write_tsv(out.curve, outcome.curve, "curve")
    events.finish(outcome.curve)
    end = outcome.curve[-1]
    running.say(f"loss {end['loss']:.3f}" + (f", AP {end['AP']:.1f}" if "AP" in end else ""))
    print(f"attention: {', '.join(outcome.attention) or 'none'}", flush=True)
    return unsteady, outcome


@contextlib.contextmanager
def stopping(running: Job, stop: StopRequest) -> Iterator[None]:
    """Around a training: where it was stopped, say so, and have SLURM run the job again."""
    try:
        with stop:
            yield
    except TrainingStopped:
        if running.is_orphan():
            raise  # nobody is left to tell, and what SLURM has started is over
        again = stop.queue_again()
        running.say(f"state saved {stop.reason}{stop.answer and '; '}{stop.answer}")
        if again:
            time.sleep(TO_BE_ENDED_S)
        raise
