"""Every suite of configs/suites: it reads, its configurations are the model's, it can be planned; some run, reduced."""

import json
import re
from pathlib import Path

import pytest

from c2o_evidence.suite import Suite, load_resolved_suite, load_suite
from c2o_model.config import at_test_time, config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.training.run import train
from tests.workflow.conftest import LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs/suites").glob("*.yaml"))
WITH_CHAIN = [name for name in NAMES if load_suite(name, ROOT).dataset == "configs/data/digits.yaml"]
# Their last rows need `make mmdet`: tests/mmdet builds them.
OF_MMDET = [name for name in NAMES if any(row.stack == "mmdet" for row in load_suite(name, ROOT).rows)]
FIRST, SECOND = "guidance_sweep_reduced", "ablation_label_reduced"  # of the fixture built_suites


def recipes(suite: Suite) -> dict[str, str]:
    """`EXPERIMENT/seedS` by recipe digest."""
    return {suite.recipe(name, seed).digest: f"{name}/seed{seed}" for name, seed in suite.train_jobs}


def test_the_suites_of_the_product_are_there() -> None:
    asked = {
        "ablation_graph", "ablation_label", "ablation_noise", "guidance_sweep", "loss_ablation", "consistency_distill",
        "progressive_distill", "step_curve", "attention_bench", "main_results", "step1_5seed",
    }  # fmt: skip
    assert asked <= set(NAMES)


@pytest.mark.parametrize("name", [name + suffix for name in NAMES for suffix in ("", "_reduced")])
def test_a_suite_reads_resolves_and_asks_for_keys_that_the_model_has(name: str, tmp_path: Path) -> None:
    if name.endswith("_reduced") and not has_reduced(name):
        pytest.skip("no `reduced` section")
    suite = load_suite(name, ROOT)
    (tmp_path / "suite.yaml").write_text(suite.to_yaml())
    assert load_resolved_suite(tmp_path / "suite.yaml").to_yaml() == suite.to_yaml()
    for experiment in suite.needed:
        cfg = config_from_dict(suite.config_of(experiment))
        for row in suite.rows_of(experiment):
            at_test_time(cfg, row.opts)


def has_reduced(name: str) -> bool:
    text = (ROOT / "configs/suites" / f"{name.removesuffix('_reduced')}.yaml").read_text()
    return re.search(r"^reduced:|^extends:", text, re.MULTILINE) is not None


@pytest.mark.parametrize("name", [name for name in WITH_CHAIN if name not in ("step1_5seed", *OF_MMDET)])
def test_every_claim_is_a_comparison_of_equal_training(name: str) -> None:
    """What is compared with a control starts where the control starts and has as many iterations behind it."""
    suite = load_suite(name, ROOT)

    def iterations(experiment: str) -> int:
        own = int(suite.config_of(experiment)["SOLVER"]["MAX_ITER"])
        init = suite.experiment(experiment).init
        return own + (iterations(init) if init else 0)

    # Random restarts are the control of equal cost at inference, not of equal training.
    rows = {row.exp_id for row in suite.rows if "MODEL.DiffusionDet.SAMPLE_RESTARTS" not in row.opts}
    controls = [c for c in suite.comparisons if c.b in rows and "control" in suite.row(c.b).label.lower()]
    assert suite.comparisons and (controls or name == "step_curve")
    for comparison in controls:
        a, b = suite.row(comparison.a), suite.row(comparison.b)
        assert iterations(a.experiment) == iterations(b.experiment), comparison
        assert a.sample_step == b.sample_step, comparison


def test_the_chain_of_the_headline_is_shared_by_all() -> None:
    headline = recipes(load_suite("step1_5seed", ROOT))
    for name in WITH_CHAIN:
        suite = load_suite(name, ROOT)
        for experiment in {"backbone", "baseline", "warmstart"} & set(suite.needed):
            for seed in suite.seeds_of(experiment):
                assert suite.recipe(experiment, seed).digest in headline, (name, experiment)


def test_what_only_looks_at_models_trains_none_of_its_own() -> None:
    others = {digest for name in WITH_CHAIN if name != "main_results" for digest in recipes(load_suite(name, ROOT))}
    assert set(recipes(load_suite("main_results", ROOT))) <= others
    headline = set(recipes(load_suite("step1_5seed", ROOT)))
    for name in ("guidance_sweep", "step_curve", "stack_parity"):
        assert set(recipes(load_suite(name, ROOT))) <= headline


def test_all_suites_can_be_planned_at_once(fresh) -> None:
    names = [name for name in WITH_CHAIN if name not in OF_MMDET]
    targets = [f"deliverables/{name}" for name in names]
    targets += [f"deliverables/{name}_reduced" for name in [*names, "attention_bench"]]
    done = fresh.run(*targets, "--dry-run")
    assert done.returncode == 0, done.stdout
    for rule in ("train", "distill", "evaluate"):
        found = len(re.findall(rf"^rule {rule}:|^Job \d+: {rule} ", done.stdout, re.MULTILINE))
        jobs = 0
        for target in targets:
            suite = load_suite(target.removeprefix("deliverables/"), ROOT)
            taught = {name for name in suite.needed if suite.experiment(name).teacher}
            for experiment, _ in suite.eval_jobs if rule == "evaluate" else suite.train_jobs:
                jobs += rule == "evaluate" or (experiment in taught) == (rule == "distill")
        assert found == jobs, rule


@pytest.mark.e2e
def test_a_second_suite_trains_nothing_again(built_suites) -> None:
    results = built_suites.path / "results"
    first, second = (load_suite(name, built_suites.path) for name in (FIRST, SECOND))
    shared = recipes(first).keys() & recipes(second).keys()
    assert len(shared) == 5, "a backbone, two baselines, two warm starts"
    for digest, place in recipes(second).items():
        folder = results / SECOND / "train" / place
        told = json.loads((folder / "record.json").read_text())["parameters"]
        log = (built_suites.path / "logs" / SECOND / "train" / f"{place}.log").read_text()
        if digest not in shared:
            assert "taken_from" not in told and "iteration 2 of 2" in log, place
            continue
        assert told["taken_from"] == f"{FIRST}/{place}" and told["recipe"] == digest
        assert log.startswith(f"not trained again: {FIRST}/{place} is this very training") and "iteration" not in log
        for name in ("model.safetensors", "model.safetensors.sha256", "config.yaml", "curve.tsv"):
            own, origin = folder / name, results / FIRST / "train" / place / name
            assert own.read_bytes() == origin.read_bytes() and not own.samefile(origin)
    for name in (FIRST, SECOND):  # what one suite takes over makes nothing in the other stale
        assert built_suites.planned(f"deliverables/{name}") == []
    entries = [path for path in (results / ".state/trained").iterdir() if path.is_dir()]
    assert len(entries) == len(recipes(first).keys() | recipes(second).keys())
    for name in (FIRST, SECOND, "attention_bench_reduced"):
        assert (built_suites.path / "deliverables" / name / "SHA256SUMS").is_file(), "frozen, so verified"
    assert "attention_cost.svg" in {p.name for p in built_suites.path.glob("deliverables/*/figures/*")}


@pytest.mark.e2e
def test_a_damaged_entry_is_not_used_and_training_gives_the_same_bytes(built_suites, tmp_path) -> None:
    checkout = built_suites.copy(tmp_path / "damaged")
    place = checkout.path / "results" / SECOND / "train/baseline/seed1"
    before = (place / "model.safetensors").read_bytes()
    for entry in (checkout.path / "results/.state/trained").glob("*/entry.json"):
        origin = json.loads(entry.read_text())["origin"]
        if (origin["experiment"], origin["seed"]) == ("baseline", "1"):
            weights = entry.with_name("model.safetensors")
            weights.write_bytes(weights.read_bytes()[:-1])  # as if a machine had gone down before the last block
    for path in place.iterdir():
        path.unlink()
    checkout.build(f"results/{SECOND}/train/baseline/seed1/model.safetensors")
    log = (checkout.path / "logs" / SECOND / "train/baseline/seed1.log").read_text()
    assert "is damaged and not used: model.safetensors: sha256: expected" in log and "iteration 2 of 2" in log
    assert (place / "model.safetensors").read_bytes() == before
    assert "taken_from" not in json.loads((place / "record.json").read_text())["parameters"]


def arms() -> dict[str, tuple[Suite, str]]:
    """One (suite, experiment) for every training of the suites that the end-to-end runs leave out, by its recipe."""
    built = [place for name in (FIRST, SECOND) for place in recipes(load_suite(name, ROOT)).items()]
    done = {digest for digest, place in built if place.split("/")[0] not in LEFT_OUT}
    found = {}
    for name in WITH_CHAIN:
        suite = load_suite(f"{name}_reduced", ROOT)
        for experiment in suite.needed:
            if (digest := suite.recipe(experiment, 0).digest) not in done | found.keys():
                found[digest] = (suite, experiment)
    return {f"{suite.name.removesuffix('_reduced')}-{name}": (suite, name) for suite, name in found.values()}


@pytest.mark.e2e
@pytest.mark.parametrize("arm", arms())
def test_an_arm_trains_from_the_shared_checkpoints(built_suites, arm: str, tmp_path: Path) -> None:
    suite, experiment = arms()[arm]
    spec, trained = suite.experiment(experiment), built_suites.path / "results" / FIRST / "train"
    values = suite.config_of(experiment)
    values["SOLVER"]["MAX_ITER"], values["TEST"]["EVAL_PERIOD"] = 1, 0
    parent = trained / ("baseline" if spec.init == "baseline" else "warmstart") / "seed0/model.safetensors"
    curve = train(
        config_from_dict(values),
        seed=0,
        split=load_manifest_split(built_suites.path / "data/digits_mini", "train"),
        output=tmp_path / "model.safetensors",
        state_dir=tmp_path / "state",
        recipe="r",
        metadata={},
        init=parent,
        teacher=trained / "warmstart/seed0/model.safetensors" if spec.teacher else None,
        teacher_cfg=config_from_dict(suite.config_of("warmstart")) if spec.teacher else None,
    )
    assert len(curve) == 1 and curve[0]["grad_norm"] > 0
