"""The index of a suite's results, and their rows in the global one.

In: every results TSV with its detections, every checkpoint. Out: one row a checkpoint and row of the suite;
and, under its lock and undeclared because all suites share it, manifests/results_manifest.tsv.
"""


rule manifest:
    input:
        results=outputs_of(
            "eval_jobs", "eval", "results.tsv", "detections.safetensors", "record.json"
        ),
        models=outputs_of(
            "eval_jobs", "train", "model.safetensors", "model.safetensors.sha256"
        ),
    output:
        manifest="results/{suite}/manifest.tsv",
    log:
        "logs/{suite}/manifest.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=10,
    params:
        digest=results_digest,
    message:
        "index the results"
    script:
        "../scripts/manifest.py"
