"""Train one checkpoint: an experiment with a train seed. Also the script of the rule `distill`.

A training that another suite has done already (same recipe, parents, data and environment) is taken over from it.
"""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.digests import read_sidecar, sha256_file
    from c2o_evidence.trackers.tensorboard import show_place
    from c2o_evidence.trained import TrainedStore, training_key

    out, w, suite = snakemake.output, snakemake.wildcards, running.suite
    recipe = suite.recipe(w.experiment, int(w.seed))
    running.as_planned(recipe.digest)
    parents = {name: Path(path) for name in ("init", "teacher") if (path := snakemake.input.get(name))}
    came_from = {f"{name}_sha256": read_sidecar(path) for name, path in parents.items()}
    files = {Path(path).name: Path(path) for path in (out.model, out.sidecar, out.config, out.curve)}
    store = TrainedStore(Path("results", ".state", "trained"))
    materials = {**came_from, "data": sha256_file(snakemake.input.data)}
    key = training_key(recipe.digest, materials, sha256_file(running.lock_file))
    with store.claim(key):
        if trained := store.find(key):
            store.take(trained, files)
            print(f"not trained again: {trained.place} is this very training; taken from {trained.path}")
            running.record("train", trained.nondeterminism, attention=list(trained.attention), taken_from=trained.place)
            show_place(running.results, f"train/{w.experiment}/seed{w.seed}")
            running.say(f"taken from {trained.place}")
        else:
            from train_model import train_model  # what follows needs torch

            unsteady, outcome = train_model(running, recipe, parents, came_from)
            origin = {"suite": suite.name, "experiment": w.experiment, "seed": w.seed}
            store.keep(key, files, origin, unsteady, outcome.attention)
            shared = {"processes": list(outcome.ran)} if outcome.ran else {}
            running.record("train", unsteady, attention=list(outcome.attention), **shared)
