"""Two scratch directories with one DAG: a suite in a checkout of this project, and the same in plain Snakemake.

The suite has chains of five experiments (a baseline, a warm start, a student with a teacher, its fine-tune, a control)
with 20 train seeds, two rows an experiment and five eval seeds: ten runs a checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = "large"
TARGET = f"deliverables/{NAME}"
COPIED = ("Snakefile", "workflow", "profiles", "configs", "requirements", "environment.yml", "c2o_model")
TRAIN_SEEDS, EVAL_SEEDS, STEPS = 20, 5, (1, 4)
RUNS_PER_CHECKPOINT = EVAL_SEEDS * len(STEPS)
CHAIN: dict[str, dict[str, str]] = {
    "baseline": {},
    "warmstart": {"init": "baseline"},
    "student": {"init": "warmstart", "teacher": "warmstart"},
    "geofeat": {"init": "student"},
    "control": {"init": "warmstart"},
}
MODELS = {"student": "distill_20to1", "control": "extra_training"}


def experiments(checkpoints: int) -> dict[str, dict[str, str]]:
    """`checkpoints / 20` experiments with their parents, chain by chain; the last chain may lack its end."""
    found: dict[str, dict[str, str]] = {}
    for number in range(checkpoints // TRAIN_SEEDS):
        chain, kind = divmod(number, len(CHAIN))
        name = list(CHAIN)[kind]
        found[f"{name}{chain:03d}"] = {key: f"{parent}{chain:03d}" for key, parent in CHAIN[name].items()}
    return found


def suite_document(checkpoints: int) -> dict[str, Any]:
    """The suite as `configs/suites/large.yaml` has it. Every chain has options of its own, so no two are one recipe."""
    specs: dict[str, Any] = {}
    for name, parents in experiments(checkpoints).items():
        kind, chain = name[:-3], int(name[-3:])
        model = f"configs/models/digits/{MODELS.get(kind, kind)}.yaml"
        specs[name] = {"model": model, **parents, "opts": {"SOLVER.MAX_ITER": 100 + chain}}
    rows = [
        {"exp_id": f"{name}_{steps}", "experiment": name, "sample_step": steps, "label": f"{name}, {steps} steps"}
        for name in specs
        for steps in STEPS
    ]
    pairs = [
        {"a": f"{name}_1", "b": f"{spec['init']}_1", "claim": "it helps"}
        for name, spec in specs.items()
        if "init" in spec
    ]
    return {
        "name": NAME,
        "title": f"{checkpoints} checkpoints",
        "dataset": "configs/data/digits_mini.yaml",
        "train_seeds": list(range(TRAIN_SEEDS)),
        "eval_seeds": list(range(EVAL_SEEDS)),
        "experiments": specs,
        "rows": rows,
        "comparisons": pairs,
        "timing": {"images": 2, "batch": 1, "warmup": 0, "repeats": 1, "train_seed": 0},
        "attention": {"nodes": [50], "heads": 2, "dim": 32, "repeats": 1},
    }


def make_ours(place: Path, checkpoints: int, tree: Path = ROOT) -> None:
    """A checkout of `tree` with the suite beside those that it has."""
    for name in (*COPIED, "c2o_evidence"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, place / name)
    document = json.dumps(suite_document(checkpoints), indent=1)  # which is YAML
    (place / "configs" / "suites" / f"{NAME}.yaml").write_text(document, encoding="utf-8")


def make_bare(place: Path, checkpoints: int) -> None:
    """The plain workflow with the same profile."""
    place.mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("bare_dag.smk"), place / "Snakefile")
    shutil.copytree(ROOT / "profiles" / "default", place / "profiles" / "default")
    shutil.copy2(ROOT / "environment.yml", place / "environment.yml")
    (place / "none.py").touch()
    shape = {
        "suite": NAME,
        "data": "digits_mini",
        "seeds": list(range(TRAIN_SEEDS)),
        "experiments": experiments(checkpoints),
    }
    (place / "shape.json").write_text(json.dumps(shape), encoding="utf-8")


def environment(place: Path) -> dict[str, str]:
    """This process's, with the directory's own sources and cache, and one thread."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "SNAKEMAKE"))}
    own = {"PYTHONPATH": str(place), "XDG_CACHE_HOME": str(place.parent / "cache"), "OMP_NUM_THREADS": "1"}
    return kept | own


def fabricate(place: Path) -> dict[str, int]:
    """Empty outputs for all jobs, with Snakemake's notes on them, as if everything had been made.

    Returns the size of the DAG: its jobs, the files that they declare as outputs and, one for each use, as inputs.
    """
    command = [sys.executable, str(Path(__file__)), TARGET]
    own = environment(place) | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT / 'workflow'}"}
    done = subprocess.run(command, cwd=place, env=own, check=True, stdout=subprocess.PIPE, text=True)
    size: dict[str, int] = json.loads(done.stdout)
    return size


def _fabricate(target: str) -> None:
    """In the directory: parents first, so that no output looks older than what it is made from."""
    import notes  # workflow/notes.py
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import OutputSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = notes.plan(api, [target])
        for level in workflow.dag.toposorted():
            for job in level:
                for path in job.output:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    if path.is_directory:
                        Path(path).mkdir(exist_ok=True)
                        (Path(path) / ".snakemake_timestamp").touch()
                    else:
                        Path(path).touch()
                workflow.async_run(workflow.persistence.finished(job))
        jobs = list(workflow.dag.jobs)
    for path in (path for job in jobs for path in job.output if path.flags.get("temp")):
        Path(path).unlink()
    files = {f"{kind}s": sum(len(getattr(job, kind)) for job in jobs) for kind in ("output", "input")}
    print(json.dumps({"jobs": len(jobs), **files}))


if __name__ == "__main__":
    _fabricate(sys.argv[1])
