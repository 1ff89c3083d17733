"""Evaluation: every row and every eval seed of one checkpoint in one pass over the validation images.

In: the data set, the checkpoint with its sidecar. Out: the results TSV (one row a run), all detections, the
record.
"""


rule evaluate:
    input:
        data=data_of,
        model="results/{suite}/train/{experiment}/seed{seed}/model.safetensors",
        sidecar="results/{suite}/train/{experiment}/seed{seed}/model.safetensors.sha256",
    output:
        results="results/{suite}/eval/{experiment}/seed{seed}/results.tsv",
        detections="results/{suite}/eval/{experiment}/seed{seed}/detections.safetensors",
        record="results/{suite}/eval/{experiment}/seed{seed}/record.json",
    log:
        "logs/{suite}/evaluate/{experiment}/seed{seed}.log",
    priority: steps_sampled
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=GPUS,
        mem_mb=memory_of,
        runtime=60,
    params:
        digest=eval_digest,
    message:
        "evaluate {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/evaluate.py"
