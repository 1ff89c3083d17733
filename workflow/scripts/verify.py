"""Verify the staged bundle: every digest, every number of every table. Findings fail the job."""

from job import job

if __name__ == "__main__":  # the processes that recompute AP import this file again
    with job(snakemake) as running:
        from pathlib import Path

        from c2o_evidence.atomic import atomic_write
        from c2o_evidence.errors import EvidenceError
        from c2o_evidence.verify import verify
        from c2o_evidence.verify.command import describe

        report = verify(Path(snakemake.input.sums).parent, level="tables", jobs=snakemake.threads)
        print(describe(report))
        if not report.ok:
            raise EvidenceError(f"{report.path}: does not verify; nothing was frozen")
        atomic_write(snakemake.output.report, report.to_json())
