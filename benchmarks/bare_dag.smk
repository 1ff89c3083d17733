"""The DAG of a suite in plain Snakemake: as many jobs, files and inputs as the project's own, and nothing decided.

The directory's shape.json has the train seeds, the experiments with what each starts from and learns from, and the
scripts' place. Params are constants, inputs are format strings or comprehensions; no project code is imported.
"""

import json

with open("shape.json", encoding="utf-8") as stream:
    SHAPE = json.load(stream)
SUITE, SEEDS, EXPERIMENTS = SHAPE["suite"], SHAPE["seeds"], SHAPE["experiments"]
TAUGHT = "|".join(name for name, spec in EXPERIMENTS.items() if spec.get("teacher"))
UNTAUGHT = "|".join(
    name for name, spec in EXPERIMENTS.items() if not spec.get("teacher")
)
DATA = f"data/{SHAPE['data']}/manifest.json"
TRAIN = "results/{suite}/train/{experiment}/seed{seed}/"
EVAL = "results/{suite}/eval/{experiment}/seed{seed}/"


def parent(key):
    def path(wildcards):
        name = EXPERIMENTS[wildcards.experiment].get(key)
        return (
            f"results/{SUITE}/train/{name}/seed{wildcards.seed}/model.safetensors"
            if name
            else []
        )

    return path


def files(part, *names):
    return [
        f"results/{SUITE}/{part}/{experiment}/seed{seed}/{name}"
        for experiment in EXPERIMENTS
        for seed in SEEDS
        for name in names
    ]


wildcard_constraints:
    suite=r"[A-Za-z0-9_-]+",
    experiment=r"[A-Za-z0-9_-]+",
    seed=r"\d+",


rule data:
    output:
        DATA,
    log:
        "logs/data.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest="0",
    message:
        "generate data set"
    script:
        "none.py"


rule train:
    input:
        data=DATA,
        init=parent("init"),
    output:
        model=TRAIN + "model.safetensors",
        sidecar=TRAIN + "model.safetensors.sha256",
        config=TRAIN + "config.yaml",
        curve=TRAIN + "curve.tsv",
        record=TRAIN + "record.json",
    log:
        "logs/{suite}/train/{experiment}/seed{seed}.log",
    wildcard_constraints:
        experiment=UNTAUGHT,
    conda:
        "environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        recipe="0",
    message:
        "train {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "none.py"


use rule train as distill with:
    input:
        data=DATA,
        init=parent("init"),
        teacher=parent("teacher"),
    wildcard_constraints:
        experiment=TAUGHT,
    message:
        "distill {wildcards.experiment}, seed {wildcards.seed}"


rule evaluate:
    input:
        data=DATA,
        model=TRAIN + "model.safetensors",
        sidecar=TRAIN + "model.safetensors.sha256",
    output:
        results=EVAL + "results.tsv",
        detections=EVAL + "detections.safetensors",
        record=EVAL + "record.json",
    log:
        "logs/{suite}/evaluate/{experiment}/seed{seed}.log",
    conda:
        "environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        digest="0",
    message:
        "evaluate {wildcards.experiment}, seed {wildcards.seed}"
    script:
        "none.py"


rule timing:
    input:
        data=DATA,
        models=[
            f"results/{SUITE}/train/{name}/seed{SEEDS[0]}/model.safetensors"
            for name in EXPERIMENTS
        ],
    output:
        timing="results/{suite}/timing/timing.tsv",
        record="results/{suite}/timing/record.json",
    log:
        "logs/{suite}/timing.log",
    conda:
        "environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        digest="0",
    message:
        "time inference"
    script:
        "none.py"


rule attention:
    output:
        attention="results/{suite}/attention/attention.tsv",
        record="results/{suite}/attention/record.json",
    log:
        "logs/{suite}/attention.log",
    conda:
        "environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        digest="0",
    message:
        "time attention kernels"
    script:
        "none.py"


rule tables:
    input:
        results=files("eval", "results.tsv"),
        timing="results/{suite}/timing/timing.tsv",
    output:
        runs="results/{suite}/tables/runs.tsv",
        summary=multiext("results/{suite}/tables/summary", ".tsv", ".md", ".tex"),
        main=multiext("results/{suite}/tables/main", ".tsv", ".md", ".tex"),
        comparisons="results/{suite}/tables/comparisons.tsv",
        record="results/{suite}/tables/record.json",
    log:
        "logs/{suite}/tables.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        digest="0",
    message:
        "make the tables"
    script:
        "none.py"


rule figures:
    input:
        runs="results/{suite}/tables/runs.tsv",
        summary="results/{suite}/tables/summary.tsv",
        comparisons="results/{suite}/tables/comparisons.tsv",
        attention="results/{suite}/attention/attention.tsv",
        curves=files("train", "curve.tsv"),
    output:
        figures=directory("results/{suite}/figures"),
    log:
        "logs/{suite}/figures.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        digest="0",
    message:
        "draw the figures"
    script:
        "none.py"


rule manifest:
    input:
        results=files("eval", "results.tsv", "detections.safetensors", "record.json"),
        models=files("train", "model.safetensors", "model.safetensors.sha256"),
    output:
        manifest="results/{suite}/manifest.tsv",
    log:
        "logs/{suite}/manifest.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        digest="0",
    message:
        "index the results"
    script:
        "none.py"


rule bundle:
    input:
        data=DATA,
        train=files(
            "train",
            "model.safetensors",
            "model.safetensors.sha256",
            "config.yaml",
            "curve.tsv",
            "record.json",
        ),
        eval=files("eval", "results.tsv", "detections.safetensors", "record.json"),
        timing="results/{suite}/timing/timing.tsv",
        attention="results/{suite}/attention/attention.tsv",
        tables="results/{suite}/tables/record.json",
        figures="results/{suite}/figures",
        manifest="results/{suite}/manifest.tsv",
    output:
        sums="results/{suite}/bundle/SHA256SUMS",
    log:
        "logs/{suite}/bundle.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest="0",
    message:
        "stage the bundle"
    script:
        "none.py"


rule verify:
    input:
        sums="results/{suite}/bundle/SHA256SUMS",
    output:
        report="results/{suite}/verify.json",
    log:
        "logs/{suite}/verify.log",
    conda:
        "environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        digest="0",
    message:
        "verify the bundle"
    script:
        "none.py"


rule freeze:
    input:
        sums="results/{suite}/bundle/SHA256SUMS",
        verified="results/{suite}/verify.json",
    output:
        frozen=temp("results/{suite}/frozen"),
    log:
        "logs/{suite}/freeze.log",
    conda:
        "environment.yml"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        digest="0",
    message:
        "freeze deliverables/{wildcards.suite}"
    script:
        "none.py"


rule deliver:
    input:
        frozen="results/{suite}/frozen",
    output:
        bundle=directory("deliverables/{suite}"),
    params:
        digest="0",
    message:
        "deliverables/{wildcards.suite} is complete"
