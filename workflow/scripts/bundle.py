"""Stage the bundle of a suite, and refuse it where another content is frozen under its name."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.bundle import stage_bundle
    from c2o_evidence.freeze import check_refreeze

    running.refuse_stale_results()
    bundle = running.results / "bundle"
    data = Path(path).parent if (path := snakemake.input.get("data")) else None
    stage_bundle(running.results, bundle, running.suite, data_dir=data, lock=running.lock_file)
    allowed = bool(snakemake.config.get("refreeze", False))
    ledger = Path("manifests", "deliverables.tsv")
    print(f"root {check_refreeze(bundle, running.suite.name, ledger, allow_refreeze=allowed)}")
