"""Verification before anything is frozen.

In: the staged bundle. Out: the report as JSON. The job fails if there are findings: every number is
recomputed from the files in the bundle.
"""


rule verify:
    input:
        sums="results/{suite}/bundle/SHA256SUMS",
    output:
        report="results/{suite}/verify.json",
    log:
        "logs/{suite}/verify.log",
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest=bundle_digest,
    message:
        "verify the bundle"
    script:
        "../scripts/verify.py"
