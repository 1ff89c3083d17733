"""Freeze the staged and verified bundle as the deliverable."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.atomic import atomic_write
    from c2o_evidence.freeze import freeze, verified_root

    bundle, target = Path(snakemake.input.sums).parent, Path("deliverables", running.suite.name)
    verified = verified_root(Path(snakemake.input.verified))
    allowed = bool(snakemake.config.get("refreeze", False))
    frozen = freeze(bundle, target, allow_refreeze=allowed, verified=verified)
    atomic_write(snakemake.output.frozen, f"{frozen.root_sha256}\n")
    running.say(f"frozen, root {frozen.root_sha256}")
