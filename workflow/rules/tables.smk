"""The tables and figures of a suite.

In: results TSV and detections of every evaluation, the annotations of the data set, the timing TSV, for the figures also
every loss curve. Out: all runs in one TSV, the summary and the main table as TSV, Markdown and LaTeX, the paired
comparisons, AP by class, the split of its variance, precision over recall, confused classes, kinds of errors, the
record; the figures as SVG, PNG and PDF.
"""

from c2o_evidence.extent import DETAIL_TABLES


rule tables:
    input:
        data=data_of,
        results=outputs_of("eval_jobs", "eval", "results.tsv", "detections.safetensors"),
        timing=if_any("timing", "results/{suite}/timing/timing.tsv"),
    output:
        runs=table("runs"),
        summary=tables_of("summary"),
        main=tables_of("main"),
        comparisons=table("comparisons"),
        per_class=table("per_class"),
        variance=table("variance"),
        precision_recall=table("precision_recall"),
        confusion=table("confusion"),
        errors=table("errors"),
        record="results/{suite}/tables/record.json",
    log:
        "logs/{suite}/tables.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        digest=lambda wildcards: suite(wildcards.suite).tables_digest(),
    message:
        "make the tables"
    script:
        "../scripts/tables.py"


rule figures:
    input:
        runs="results/{suite}/tables/runs.tsv",
        summary="results/{suite}/tables/summary.tsv",
        comparisons="results/{suite}/tables/comparisons.tsv",
        detail=expand(
            "results/{{suite}}/tables/{name}.tsv",
            name=DETAIL_TABLES,
        ),
        attention=if_any("attention", "results/{suite}/attention/attention.tsv"),
        curves=outputs_of("train_jobs", "train", "curve.tsv"),
    output:
        figures=figures_of(),
    log:
        "logs/{suite}/figures.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        digest=lambda wildcards: suite(wildcards.suite).tables_digest(),
    message:
        "draw the figures"
    script:
        "../scripts/figures.py"
