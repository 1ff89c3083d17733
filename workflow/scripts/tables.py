"""Write the tables of a suite from the results of its runs."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.tables.build import write_tables

    running.as_planned(running.suite.tables_digest())
    data = Path(path).parent if (path := snakemake.input.get("data")) else Path()
    write_tables(running.results, running.suite, data)
    running.record("tables")
