"""Train one checkpoint: an experiment with a train seed. Also the script of the rule `distill`."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    import yaml

    from c2o_evidence.atomic import atomic_write
    from c2o_evidence.digests import read_sidecar
    from c2o_evidence.tsv import write_tsv
    from c2o_model.config import config_from_dict
    from c2o_model.data.coco import load_manifest_split
    from c2o_model.determinism import set_deterministic
    from c2o_model.training.run import train

    out, w, suite = snakemake.output, snakemake.wildcards, running.suite
    recipe = suite.recipe(w.experiment, int(w.seed))
    running.as_planned(recipe.digest)
    unsteady = set_deterministic()
    parents = {name: Path(path) for name in ("init", "teacher") if (path := snakemake.input.get(name))}
    metadata = {
        "experiment": recipe.experiment,
        "train_seed": str(recipe.seed),
        "recipe_sha256": recipe.digest,
        "config_sha256": recipe.config_sha256,
        "data_sha256": recipe.data_sha256,
        "code_sha256": recipe.code_sha256,
        **{f"{name}_sha256": read_sidecar(path) for name, path in parents.items()},
    }
    last = {}

    def progress(now):
        last.update(now)
        print("iteration {iteration} of {total}: loss {loss:.3f}".format(**now), flush=True)

    curve = train(
        config_from_dict(recipe.config),
        seed=recipe.seed,
        split=load_manifest_split(Path(snakemake.input.data).parent, "train"),
        output=Path(out.model),
        state_dir=Path("results", ".state", suite.name, w.experiment, f"seed{w.seed}"),
        feature_dir=Path("results", ".state", "features"),
        recipe=recipe.digest,
        metadata=metadata,
        teacher_cfg=config_from_dict(suite.config_of(recipe.teacher.experiment)) if recipe.teacher else None,
        progress=progress,
        **parents,
    )
    atomic_write(out.config, yaml.safe_dump(recipe.config))
    write_tsv(out.curve, curve, "curve")
    print(f"attention: {', '.join(last['attention']) or 'none'}", flush=True)
    running.record("train", unsteady, last["attention"])
    running.say(f"loss {curve[-1]['loss']:.3f}")
