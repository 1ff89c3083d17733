"""Write the manifest of a suite's results and merge them into the global one."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.manifest import merge_results_manifest, results_rows
    from c2o_evidence.tables.build import write_manifest

    tables = sorted(path for path in snakemake.input.results if path.endswith("/results.tsv"))
    rows = [row for path in tables for row in results_rows(path, running.results, Path.cwd())]
    for dropped in merge_results_manifest(Path("manifests", "results_manifest.tsv"), rows).dropped:
        print(dropped)
    write_manifest(running.results, running.suite)
