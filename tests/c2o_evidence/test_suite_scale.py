"""A large suite: every digest, configuration and source is worked out once, and is what it is made of."""

import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dag_directories import suite_document
from c2o_evidence import suite as suite_module
from c2o_evidence import yaml_file
from c2o_evidence.code import code_digest
from c2o_evidence.digests import json_digest
from c2o_evidence.live import estimate
from c2o_evidence.model_config import merge_config
from c2o_evidence.snakelog import SnakemakeLog
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.workload import jobs_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This one's configurations and sources, with a suite of 10 experiments and 20 train seeds."""
    root = tmp_path_factory.mktemp("large")
    for name in ("c2o_model", "c2o_evidence"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", root / "configs")
    (root / "configs" / "suites" / "large.yaml").write_text(json.dumps(suite_document(200)))
    return root


@cache
def code(part: str) -> str:
    return code_digest(ROOT, part)


def by_hand(suite: Suite, experiment: str, seed: int) -> str:
    """A recipe digest worked out from files, configurations and parents read anew for each."""
    spec = suite.experiments[experiment]
    seed = 0 if spec.shared else seed
    chain: dict[str, Any] = {
        "kind": "train",
        "config": json_digest(merge_config(spec.model, suite.root or "", spec.opts)),
        "seed": seed,
        "data": json_digest({key: value for key, value in suite.data_config.items() if key != "description"}),
        "code": code("train"),
    }
    for key, parent in (("init", spec.init), ("teacher", spec.teacher)):
        chain[key] = by_hand(suite, parent, seed) if parent else None
    return json_digest(chain)


def evaluation_by_hand(suite: Suite, experiment: str, seed: int) -> str:
    rows = [[r.exp_id, r.sample_step, dict(r.opts)] for r in suite.rows if r.experiment == experiment]
    return json_digest(
        {
            "kind": "evaluate",
            "recipe": by_hand(suite, experiment, seed),
            "rows": sorted(rows),
            "eval_seeds": sorted(suite.eval_seeds),
            "code": code("evaluate"),
        }
    )


@pytest.mark.parametrize("name", ["large", "step1_5seed"])
def test_digests_are_those_worked_out_without_memory(checkout: Path, name: str) -> None:
    suite = load_suite(name, checkout)
    for seed in suite.train_seeds[:3][::2]:  # asked for twice, in another order
        for experiment in [*suite.needed[:4][::-1], *suite.needed[:4]]:
            assert suite.recipe(experiment, seed).digest == by_hand(suite, experiment, seed)
    experiment, seed = suite.eval_jobs[-1]
    for _ in range(2):
        assert suite.eval_digest(experiment, seed) == evaluation_by_hand(suite, experiment, seed)
    assert suite.eval_digest(experiment, suite.train_seeds[0]) != suite.eval_digest(experiment, seed)


def test_what_is_given_away_is_a_copy(checkout: Path) -> None:
    suite = load_suite("large", checkout)
    before = suite.recipe("student000", 0).config_sha256
    config = suite.config_of("student000")
    config["SOLVER"]["MAX_ITER"] = -1
    assert suite.config_of("student000")["SOLVER"]["MAX_ITER"] == 100
    assert json_digest(suite.recipe("student000", 1).config) == before
    path = checkout / "configs" / "models" / "digits" / "small.yaml"
    yaml_file.load_yaml(path, "small.yaml").clear()
    assert yaml_file.load_yaml(path, "small.yaml")


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text in ("x: 1", "x: 2", "x: 1"):  # of one size, and perhaps of one time
        path.write_text(text)
        assert yaml_file.load_yaml(path, "a.yaml") == {"x": int(text[-1])}


def test_each_thing_is_worked_out_once(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plan, the jobs of `c2o status` and the tables ask: 200 trainings, 200 evaluations."""
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        plain = getattr(suite_module, name)
        monkeypatch.setattr(suite_module, name, lambda *arguments: (calls.update([name]), plain(*arguments))[1])

    for name in ("merge_config", "config_digest", "code_digest", "json_digest"):
        counted(name)
    suite = load_suite("large", checkout)
    for _ in range(3):
        assert len(jobs_of(suite, checkout)) == 200 + 200 + 2
        for experiment, seed in suite.train_jobs:
            suite.recipe(experiment, seed)
        for experiment, seed in suite.eval_jobs:
            suite.eval_digest(experiment, seed)
        suite.tables_digest()
    assert calls["merge_config"] == calls["config_digest"] == 10
    assert calls["code_digest"] == 5  # train, evaluate, timing, attention, tables
    assert calls["json_digest"] == 200 + 200 + 4  # data, timing, attention, tables


def test_looking_at_thousands_of_jobs_leaves_the_core_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: a look takes 2 s, states follow each other after 0.3 s, a twentieth of 300 s is spent."""
    now, looks = 0.0, 0

    def slow(_: Path) -> list[Any]:
        nonlocal now, looks
        now, looks = now + 2.0, looks + 1
        return []

    monkeypatch.setattr(estimate, "read_progress", slow)
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now)
    watcher = estimate.Watcher(SnakemakeLog(), {"large": []}, tmp_path)
    while now < 300:
        assert watcher.state().elapsed_s == now
        now += 0.3
    assert 300 / (2 * (estimate.REST + 2)) <= looks <= 300 / (2 * estimate.REST) + 1
