"""profiles/slurm: what it asks SLURM for, group jobs, names and logs, and what becomes of a plain --profile."""

import re
from pathlib import Path
from typing import Any

import pytest

from c2o_evidence.yaml_file import load_yaml
from tests.slurm.checkouts import ClusterCheckout
from tests.slurm.toy_cluster import ToyCluster

ROOT = Path(__file__).resolve().parents[2]
EVALUATED = ("baseline", "warmstart")
TRAINED = [f"results/tiny/train/{name}/seed{seed}/model.safetensors" for name in EVALUATED for seed in (0, 1)]
STUDENT = "results/tiny/train/student/seed1/model.safetensors"
RESULTS = {name: [f"results/tiny/eval/{name}/seed{seed}/results.tsv" for seed in (0, 1)] for name in EVALUATED}

ON_GPUS = """\
  distill:
    mem_mb: 2000 * threads * attempt
    runtime: 120 * attempt
    slurm_partition: gpu
    gpu_model: toy
    gpu: 2
"""


def profile(name: str) -> dict[str, Any]:
    found = load_yaml(ROOT / "profiles" / name, name)
    assert isinstance(found, dict)
    return found


SLURM = profile("slurm/config.yaml")


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> ClusterCheckout:
    checkout = ClusterCheckout.create(tmp_path_factory.mktemp("trained") / "checkout", stubs=True)
    checkout.build(*TRAINED)
    return checkout


@pytest.fixture
def trained(trained_once: ClusterCheckout, tmp_path: Path) -> ClusterCheckout:
    """A checkout with stubs for scripts, in which two experiments are trained."""
    return ClusterCheckout(trained_once.copy(tmp_path / "checkout").path)


def test_it_says_what_the_default_profile_says() -> None:
    default = profile("default/profile.yaml")
    assert default.pop("cores") == "all"
    assert {key: SLURM.get(key) for key in default} == default


def test_it_speaks_of_rules_that_exist_and_retries_outside_of_them() -> None:
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = set(re.findall(r"^rule (\w+):|^use rule \w+ as (\w+)", text, re.MULTILINE))
    names = {name for pair in rules for name in pair if name}
    named = {*SLURM["set-resources"], *SLURM["set-threads"], *SLURM["groups"]}
    assert named and named <= names
    assert SLURM["retries"] >= 1 and not re.search(r"^\s+retries:", text, re.MULTILINE)
    for asked in (SLURM["default-resources"], *SLURM["set-resources"].values()):
        grown = SLURM["default-resources"] | asked
        assert "attempt" in grown["mem_mb"] and "attempt" in grown["runtime"]


def test_a_failing_evaluation_fails_its_group_alone_and_each_attempt_asks_for_more(
    cluster: ToyCluster, trained: ClusterCheckout
) -> None:
    (trained.path / "stub.fail").write_text("evaluate tiny baseline 1")
    trained.edit("profiles/slurm/config.yaml", "  distill: *train\n", ON_GPUS)  # as its comments say
    targets = [STUDENT, *(path for paths in RESULTS.values() for path in paths)]
    done = trained.on(cluster).run_on_slurm(*targets, "--retries", "1")
    assert done.returncode == 1 and "Error: evaluate tiny baseline 1: fails as asked" in done.stdout
    there = {name: [(trained.path / path).exists() for path in paths] for name, paths in RESULTS.items()}
    assert there == {"baseline": [False, False], "warmstart": [True, True]}

    jobs = cluster.squeue("%i|%k|%T|%C|%m|%l", "--states=all")
    of = {name: sorted(job for job in jobs if job[1] == f"rule_tiny-{name}_evaluate") for name in EVALUATED}
    # Two evaluations of a group after each other: the time of both, one core, the memory of one.
    assert [job[2:] for job in of["warmstart"]] == [["COMPLETED", "1", "2000M", "2:00:00"]]
    assert [job[2:] for job in of["baseline"]] == [
        ["FAILED", "1", "2000M", "2:00:00"],
        ["FAILED", "1", "4000M", "4:00:00"],
    ]
    [distilled] = [job for job in jobs if job[1] == "rule_distill_wildcards_tiny_student_1"]
    assert distilled[2:] == ["COMPLETED", "1", "2000M", "2:00:00"]
    asked = cluster.job(distilled[0])
    assert (asked["Partition"], asked["TresPerJob"], asked["NumNodes"]) == ("gpu", "gres:gpu:toy:2", "1")
    for number, *_ in of["baseline"]:
        log = trained.path / f"logs/slurm/group_tiny-baseline_evaluate/{number}.log"
        assert "Error in rule evaluate" in log.read_text()
    assert "fails as asked" in (trained.path / "logs/tiny/evaluate/baseline/seed1.log").read_text()

    # The next run makes what is missing; this time typed as --profile, which Snakemake mixes with profiles/default.
    (trained.path / "stub.fail").unlink()
    done = trained.run_on_slurm(*targets, profile="--profile")
    assert done.returncode == 0, done.stdout
    new = [job for job in cluster.squeue("%i|%k|%T", "--states=all") if job not in [known[:3] for known in jobs]]
    assert [job[1:] for job in new] == [["rule_tiny-baseline_evaluate", "COMPLETED"]]


def test_a_profile_for_slurm_never_works_here_instead(trained: ClusterCheckout) -> None:
    """Where profiles/default names another executor, Snakemake takes that one, although it was not typed."""
    default = trained.path / "profiles/default/profile.yaml"
    default.write_text(default.read_text() + "executor: local\n")
    ran = (trained.path / "stub.ran").read_bytes()
    done = trained.run_on_slurm(RESULTS["baseline"][0], profile="--profile")
    assert done.returncode == 1 and (trained.path / "stub.ran").read_bytes() == ran
    assert "--profile profiles/slurm asks for the executor slurm, but profiles/default, read after it" in done.stdout
    assert "Type --workflow-profile profiles/slurm in place of --profile profiles/slurm" in done.stdout
