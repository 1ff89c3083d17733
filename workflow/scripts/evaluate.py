"""Evaluate one checkpoint: all its rows with all eval seeds, each in its stack."""

from job import job

with job(snakemake) as running:
    import json
    from pathlib import Path

    from stacks import evaluate_in, stacks_of

    from c2o_evidence.code import code_digest
    from c2o_evidence.detections import Detections, write_detections
    from c2o_evidence.digests import read_sidecar
    from c2o_evidence.metrics import GroundTruth
    from c2o_evidence.stats import mean
    from c2o_evidence.suite_stack import CORE
    from c2o_evidence.trackers.tensorboard import show_place
    from c2o_evidence.tsv import write_tsv
    from c2o_model.data import manifest as data_manifest
    from c2o_model.determinism import set_deterministic
    from c2o_model.evaluation.run import EvalRow
    from c2o_model.evaluation.shared import Evaluation, evaluate_shared

    inp, out, w, suite = snakemake.input, snakemake.output, snakemake.wildcards, running.suite
    running.as_planned(suite.eval_digest(w.experiment, int(w.seed)))
    unsteady = set_deterministic()
    recipe, data = suite.recipe(w.experiment, int(w.seed)), Path(inp.data).parent
    known = data_manifest.read(data)
    annotation = known.annotation("val")
    known.check(annotation)
    truth = GroundTruth.load(annotation)
    identity = {
        "ckpt_path": Path(inp.model).relative_to(running.results).as_posix(),
        "ckpt_sha256": read_sidecar(inp.model),
        "config_sha256": recipe.config_sha256,
        "dataset_sha256": known.sha256,
        "code_sha256": code_digest(running.root, "evaluate"),
        "train_seed": recipe.seed,
    }
    rows = suite.rows_of(w.experiment)
    of = {
        stack: tuple(EvalRow(r.exp_id, r.sample_step, tuple(r.opts.items())) for r in rows if r.stack == stack)
        for stack in dict.fromkeys(r.stack for r in rows)
    }
    detections, kernels = {}, []
    for stack, own in of.items():
        evaluation = Evaluation(recipe.config, Path(inp.model), data, own, suite.eval_seeds)
        if stack == CORE:
            runs = evaluate_shared(evaluation, snakemake.threads, attention=kernels.extend, keep=running.locks)
        else:
            runs = evaluate_in(stack, evaluation)
        for run in runs:
            detections[run.exp_id, run.eval_seed] = Detections.from_arrays(vars(run))
    detections = {(row.exp_id, seed): detections[row.exp_id, seed] for row in rows for seed in suite.eval_seeds}
    results = []
    for (exp_id, seed), found in detections.items():
        own = {"exp_name": exp_id, "eval_seed": seed, "sample_step": suite.row(exp_id).sample_step}
        results.append({**identity, **own, **truth.evaluate(found)})
    names = {"class_names": json.dumps(truth.class_names), "ckpt_sha256": identity["ckpt_sha256"]}
    write_detections(out.detections, detections, names)
    write_tsv(out.results, results, "results")
    running.record("evaluate", unsteady, attention=kernels, **stacks_of(suite, w.experiment))
    show_place(running.results, f"eval/{w.experiment}/seed{w.seed}")
    for row in rows:
        found_ap = mean([run["AP"] for run in results if run["exp_name"] == row.exp_id])
        running.say(f"{row.exp_id} AP {found_ap:.1f}")
