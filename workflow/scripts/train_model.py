"""The training itself, apart from train.py so that a job that need not train does not load torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from c2o_evidence.atomic import atomic_write
from c2o_evidence.progress import note_host
from c2o_evidence.tsv import write_tsv
from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.determinism import set_deterministic
from c2o_model.training.run import train

if TYPE_CHECKING:
    from job import Job

    from c2o_evidence.suite import Recipe


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
        if not last:
            note_host(state)
        last.update(now)
        print("iteration {iteration} of {total}: loss {loss:.3f}".format(**now), flush=True)

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
        **parents,
    )
    atomic_write(out.config, yaml.safe_dump(recipe.config))
    write_tsv(out.curve, curve, "curve")
    running.say(f"loss {curve[-1]['loss']:.3f}")
    kernels = tuple(last["attention"])
    print(f"attention: {', '.join(kernels) or 'none'}", flush=True)
    return unsteady, kernels
