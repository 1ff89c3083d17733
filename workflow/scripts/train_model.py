"""The training itself, apart from train.py so that a job that need not train does not load torch."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from c2o_evidence.atomic import atomic_write
from c2o_evidence.tsv import write_tsv
from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.determinism import set_deterministic
from c2o_model.stopping import StopRequest
from c2o_model.training.run import TrainingStopped, train

if TYPE_CHECKING:
    from job import Job

    from c2o_evidence.suite import Recipe

TO_BE_ENDED_S = 120  # that SLURM may take to end a job that it runs again


def train_model(
    running: Job, recipe: Recipe, parents: Mapping[str, Path], came_from: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Train to the job's outputs; what of it need not give the same bits twice, and the attention kernels that ran.

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
    last: dict[str, Any] = {}

    def progress(now: Mapping[str, Any]) -> None:
        last.update(now)
        print("iteration {iteration} of {total}: loss {loss:.3f}".format(**now), flush=True)
        if now["iteration"] == now["total"]:
            running.end_with_parent()  # from here on outputs are written

    # In between it may outlive Snakemake until its state is saved.
    margin = snakemake.resources.get("stop_margin_s")
    stop = StopRequest(margin, on_first=lambda: running.end_with_parent(signal.SIGTERM))
    with stopping(running, stop):
        curve = train(
            config_from_dict(recipe.config),
            seed=recipe.seed,
            split=load_manifest_split(Path(snakemake.input.data).parent, "train"),
            output=Path(out.model),
            state_dir=state,
            feature_dir=Path("results", ".state", "features"),
            recipe=recipe.digest,
            metadata=metadata,
            teacher_cfg=config_from_dict(suite.config_of(recipe.teacher.experiment)) if recipe.teacher else None,
            progress=progress,
            stop=stop,
            **parents,
        )
    atomic_write(out.config, yaml.safe_dump(recipe.config))
    write_tsv(out.curve, curve, "curve")
    running.say(f"loss {curve[-1]['loss']:.3f}")
    kernels = tuple(last["attention"])
    print(f"attention: {', '.join(kernels) or 'none'}", flush=True)
    return unsteady, kernels


@contextmanager
def stopping(running: Job, stop: StopRequest) -> Iterator[None]:
    """Around a training: where it was stopped, say so, and have SLURM run the job again."""
    try:
        with stop:
            yield
    except TrainingStopped:
        if running.is_orphan():
            raise  # nobody is left to tell, and what SLURM has started is over
        again = stop.queue_again()
        running.say(f"state saved {stop.reason}{'; SLURM runs the job again' if again else ''}")
        if again:
            time.sleep(TO_BE_ENDED_S)
        raise
