"""Time the inference of every row of a suite on the checkpoints of one train seed."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.digests import read_sidecar
    from c2o_evidence.hardware import fingerprint
    from c2o_evidence.tsv import write_tsv
    from c2o_model.config import config_from_dict
    from c2o_model.data.coco import load_manifest_split
    from c2o_model.determinism import set_deterministic
    from c2o_model.evaluation.run import EvalRow
    from c2o_model.evaluation.timing import TimingCase, time_inference

    inp, out, suite = snakemake.input, snakemake.output, running.suite
    running.as_planned(suite.timing_digest())
    unsteady, machine, spec = set_deterministic(), fingerprint(), suite.timing
    cases, identity = [], {}
    for row in suite.rows:
        recipe = suite.recipe(row.experiment, spec.train_seed)
        path = f"train/{row.experiment}/seed{recipe.seed}/model.safetensors"
        identity[row.exp_id] = {
            "ckpt_path": path,
            "ckpt_sha256": read_sidecar(running.results / path),
            "train_seed": recipe.seed,
            "hardware_id": machine["id"],
            "hardware": machine["cpu"],
        }
        sampling = EvalRow(row.exp_id, row.sample_step, tuple(row.opts.items()))
        cases.append(TimingCase(sampling, config_from_dict(recipe.config), running.results / path))
    sizes = {"images": spec.images, "batch": spec.batch, "warmup": spec.warmup, "repeats": spec.repeats}
    times = time_inference(cases, load_manifest_split(Path(inp.data).parent, "val"), **sizes)
    write_tsv(out.timing, [{**identity[row["exp_id"]], **row} for row in times], "timing")
    running.record("timing", unsteady)
