"""Make the gallery of a suite: pictures, the denoising of one of them, the attention of its scene."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_model.determinism import set_deterministic
    from c2o_model.evaluation.run import EvalRow
    from c2o_model.gallery.build import GalleryRow, build_gallery

    inp, out, suite = snakemake.input, snakemake.output, running.suite
    running.as_planned(suite.gallery_digest())
    unsteady, seed, rows = set_deterministic(), suite.train_seeds[0], []
    for row in map(suite.row, suite.gallery.rows):
        recipe = suite.recipe(row.experiment, seed)
        model = running.results / "train" / row.experiment / f"seed{recipe.seed}" / "model.safetensors"
        sampling = EvalRow(row.exp_id, row.sample_step, tuple(row.opts.items()))
        rows.append(GalleryRow(sampling, recipe.config, model))
    data, folder = Path(inp.data).parent, Path(out.gallery).parent
    build_gallery(rows, data, suite.gallery.images, seed, suite.eval_seeds, folder)
    running.record("gallery", unsteady)
