"""Training without a teacher: a pretrained backbone, a baseline, a warm start, a fine-tune, a control.

In: the data set; the checkpoint to start from, if the experiment names one. Out: the checkpoint with its
sha256 sidecar, the resolved configuration, the loss curve, the record. What a killed training resumes from
lies in results/.state, undeclared.
"""

import signal

# `sbatch --signal=USR1@120` warns all processes of a job. It is for the training; Snakemake would die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


rule train:
    input:
        data=data_of,
        init=init_of,
    output:
        model="results/{suite}/train/{experiment}/seed{seed}/model.safetensors",
        sidecar="results/{suite}/train/{experiment}/seed{seed}/model.safetensors.sha256",
        config="results/{suite}/train/{experiment}/seed{seed}/config.yaml",
        curve="results/{suite}/train/{experiment}/seed{seed}/curve.tsv",
        record="results/{suite}/train/{experiment}/seed{seed}/record.json",
    log:
        "logs/{suite}/train/{experiment}/seed{seed}.log",
    wildcard_constraints:
        suite=suites_where(taught=False),
    priority: chain_below
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=GPUS,
        mem_mb=memory_of,
        runtime=120,
    params:
        recipe=lambda wildcards: recipe(wildcards).digest,
    message:
        "train {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "../scripts/train.py"
