"""Inference time of every row of a suite, on an otherwise idle machine: the job claims all cores.

In: the data set, one checkpoint of each experiment that has rows. Out: the timing TSV, the record.
It has the lowest priority, so that it waits for no more than the last evaluations.
"""


rule timing:
    input:
        data=data_of,
        models=timed_checkpoints,
    output:
        timing=measurement("timing"),
        record="results/{suite}/timing/record.json",
    log:
        "logs/{suite}/timing.log",
    priority: 1
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=GPUS,
        mem_mb=2000,
        runtime=60,
    params:
        digest=lambda wildcards: suite(wildcards.suite).timing_digest(),
    message:
        "time inference"
    script:
        "../scripts/timing.py"
