"""Set the rows of other stacks beside the core's."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.parity import write_parity

    running.as_planned(running.suite.parity_digest())
    write_parity(running.results, running.suite, Path(snakemake.input.data).with_name("val.json"))
    running.record("parity")
