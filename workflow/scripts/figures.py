"""Draw the figures of a suite."""

from job import job

with job(snakemake) as running:
    from c2o_evidence.figures import write_figures

    running.as_planned(running.suite.tables_digest())
    write_figures(running.results, running.suite)
