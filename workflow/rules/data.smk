"""The data sets.

In: configs/data/NAME.yaml. Out: data/NAME/manifest.json with the digest of every image and annotation file
beside it.
"""


rule data:
    output:
        manifest="data/{dataset}/manifest.json",
    log:
        "logs/data/{dataset}.log",
    priority: 900
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest=lambda wildcards: suite_on(wildcards).generate_digest(),
        config=lambda wildcards: suite_on(wildcards).dataset,
    message:
        "generate data set {wildcards.dataset}"
    script:
        "../scripts/data.py"
