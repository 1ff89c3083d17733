"""The deliverable: staged, verified (verify.smk), frozen.

In: all results of a suite. Out: results/SUITE/bundle, a staged copy with SHA256SUMS, and from it
deliverables/SUITE. Staging refuses a content other than the frozen one (`--config refreeze=true` allows
it). It has to be done there: by the time `deliver` runs, Snakemake has deleted the old deliverable.
"""


rule bundle:
    input:
        data=data_of,
        train=outputs_of(
            "train_jobs",
            "train",
            "model.safetensors",
            "model.safetensors.sha256",
            "config.yaml",
            "curve.tsv",
            "record.json",
        ),
        eval=outputs_of(
            "eval_jobs", "eval", "results.tsv", "detections.safetensors", "record.json"
        ),
        timing=if_any("timing", "results/{suite}/timing/timing.tsv"),
        attention=if_any("attention", "results/{suite}/attention/attention.tsv"),
        tables="results/{suite}/tables/record.json",
        figures="results/{suite}/figures",
        manifest="results/{suite}/manifest.tsv",
    output:
        sums="results/{suite}/bundle/SHA256SUMS",
    log:
        "logs/{suite}/bundle.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest=bundle_digest,
    message:
        "stage the bundle"
    script:
        "../scripts/bundle.py"


rule deliver:
    input:
        sums="results/{suite}/bundle/SHA256SUMS",
        verified="results/{suite}/verify.json",
    output:
        bundle=directory("deliverables/{suite}"),
    log:
        "logs/{suite}/deliver.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=30,
    params:
        digest=bundle_digest,
    message:
        "freeze deliverables/{wildcards.suite}"
    script:
        "../scripts/deliver.py"
