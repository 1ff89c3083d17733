"""Time and memory of the attention kernels that exist here, on an otherwise idle machine: it claims all cores.

In: nothing. Out: the attention TSV, the record. It goes first, when no other job has to end before it can
begin.
"""


rule attention:
    output:
        attention=measurement("attention"),
        record="results/{suite}/attention/record.json",
    log:
        "logs/{suite}/attention.log",
    priority: 1000
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        digest=lambda wildcards: suite(wildcards.suite).attention_digest(),
    message:
        "time attention kernels"
    script:
        "../scripts/attention.py"
