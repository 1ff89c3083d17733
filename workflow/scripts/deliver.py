"""Freeze the staged and verified bundle as the deliverable."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.freeze import freeze

    bundle = Path(snakemake.input.sums).parent
    # A refreeze was allowed or refused when the bundle was staged; Snakemake has deleted the old one by now.
    frozen = freeze(bundle, Path(snakemake.output.bundle), allow_refreeze=True)
    running.say(f"frozen, root {frozen.root_sha256}")
