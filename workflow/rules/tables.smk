"""The tables and figures of a suite.

In: the results TSV of every evaluation, the timing TSV, for the figures also every loss curve. Out: all
runs in one TSV, the summary and the main table as TSV, Markdown and LaTeX, the paired comparisons, the
record; the figures as SVG and PNG.
"""


rule tables:
    input:
        results=outputs_of("eval_jobs", "eval", "results.tsv"),
        timing=if_any("timing", "results/{suite}/timing/timing.tsv"),
    output:
        runs="results/{suite}/tables/runs.tsv",
        summary=multiext("results/{suite}/tables/summary", ".tsv", ".md", ".tex"),
        main=multiext("results/{suite}/tables/main", ".tsv", ".md", ".tex"),
        comparisons="results/{suite}/tables/comparisons.tsv",
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
        attention=if_any("attention", "results/{suite}/attention/attention.tsv"),
        curves=outputs_of("train_jobs", "train", "curve.tsv"),
    output:
        figures=directory("results/{suite}/figures"),
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
