"""How far the rows of other stacks are from the core's, in a suite that has both.

In: detections and results TSVs of the evaluations that hold them, the annotations of the data set. Out: the parity TSV,
the record.
"""


rule parity:
    input:
        data=data_of,
        results=twin_results,
    output:
        parity=measurement("parity"),
        record="results/{suite}/parity/record.json",
    log:
        "logs/{suite}/parity.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        digest=lambda wildcards: suite(wildcards.suite).parity_digest(),
    message:
        "compare the stacks"
    script:
        "../scripts/parity.py"
