"""The deliverable: staged, verified (verify.smk), frozen.

In: all results of a suite. Out: results/SUITE/bundle, a staged copy with SHA256SUMS, and from it
deliverables/SUITE. Staging refuses a content other than the frozen one, and so does freezing (`--config
refreeze=true` allows it).

Snakemake deletes a job's outputs before it starts and when it fails; the old deliverable must outlive both.
So the job that freezes (`freeze`) has a note for its output, which is gone again once all is done, and the
rule of the directory (`deliver`), its only producer, has no job of its own: nothing is deleted then.
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
        gallery=if_any("gallery", "results/{suite}/gallery/record.json"),
        parity=if_any("parity", "results/{suite}/parity/parity.tsv"),
        tables="results/{suite}/tables/record.json",
        figures="results/{suite}/figures",
        manifest="results/{suite}/manifest.tsv",
    output:
        sums="results/{suite}/bundle/SHA256SUMS",
    log:
        "logs/{suite}/bundle.log",
    localrule: True
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


rule freeze:
    input:
        sums="results/{suite}/bundle/SHA256SUMS",
        verified="results/{suite}/verify.json",
    output:
        frozen=temp("results/{suite}/frozen"),
    log:
        "logs/{suite}/freeze.log",
    localrule: True
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
        "../scripts/freeze.py"


rule deliver:
    input:
        frozen=note_of_freeze,
    output:
        bundle=page_of(),
    params:
        digest=bundle_digest,
    message:
        "deliverables/{wildcards.suite} is complete"
