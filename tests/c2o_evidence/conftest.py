"""A small repository with two suites, made by hand, for the tests that read suites."""

from pathlib import Path

import pytest

FILES = {
    "configs/data/toy.yaml": "name: toy\nkind: digits\nseed: 7\n",
    "configs/models/base.yaml": """\
MODEL:
  WIDTH: 64
  DEPTH: 3
SOLVER:
  MAX_ITER: 100
  BASE_LR: 2e-3
""",
    "configs/models/warm.yaml": "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 20\n",
    "configs/models/student.yaml": "_BASE_: warm.yaml\nMODEL:\n  DISTILL: true\n",
    "configs/suites/toy.yaml": """\
# a suite
name: toy
title: Toy
dataset: configs/data/toy.yaml
train_seeds: [0, 1]
eval_seeds: [0, 1, 2]
experiments:
  backbone: {model: configs/models/base.yaml, shared: true}
  baseline: {model: configs/models/base.yaml, init: backbone}
  warm: {model: configs/models/warm.yaml, init: baseline}
  student: {model: configs/models/student.yaml, init: warm, teacher: warm}
  unused: {model: configs/models/base.yaml}
rows:
  - {exp_id: base_1, experiment: baseline, sample_step: 1, label: Baseline}
  - {exp_id: warm_20, experiment: warm, sample_step: 20}
  - {exp_id: student_1, experiment: student, sample_step: 1, opts: {MODEL.RESTARTS: 2}}
main_table:
  - {method: Baseline, type: diffusion, backbone: R50, epochs: 12, exp_id: base_1, notes: null}
comparisons:
  - {a: student_1, b: base_1, claim: it helps}
speedups:
  - {fast: student_1, slow: warm_20}
timing: {images: 4, batch: 2, warmup: 1, repeats: 3, train_seed: 0}
attention: {nodes: [100, 200], heads: 4, dim: 64, repeats: 2}
""",
    "configs/suites/small.yaml": """\
name: small
extends: toy
train_seeds: [0]
experiments:
  baseline: {opts: {SOLVER.MAX_ITER: 5}}
""",
    "c2o_model/config.py": "x = 1\n",
    "c2o_model/data/digits.py": "generator = 1\n",
    "c2o_model/data/loader.py": "loader = 1\n",
    "c2o_model/modeling/head.py": "head = 1\n",
    "c2o_model/training/run.py": "train = 1\n",
    "c2o_model/evaluation/run.py": "evaluate = 1\n",
    "c2o_model/evaluation/timing.py": "time = 1\n",
    "c2o_model/evaluation/attention_bench.py": "bench = 1\n",
    "c2o_evidence/metrics.py": "ap = 1\n",
    "c2o_evidence/stats.py": "mean = 1\n",
}


class Repository:
    """A directory whose files are edited by tests."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "repo")
    for name, text in FILES.items():
        repository.write(name, text)
    return repository
