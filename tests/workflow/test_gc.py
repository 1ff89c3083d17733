"""`c2o gc` after real builds: what it takes makes nothing to be done again and changes no evidence."""

import pytest

pytestmark = pytest.mark.e2e

SUITES = ("guidance_sweep_reduced", "ablation_label_reduced", "attention_bench_reduced")


def test_after_gc_nothing_more_is_to_be_made_and_the_evidence_holds(built_suites, tmp_path) -> None:
    checkout = built_suites.copy(tmp_path / "swept")
    targets = [f"deliverables/{name}" for name in SUITES]
    checkout.edit("configs/suites/ablation_label.yaml", 'title: "', 'title: "Again: ')
    before = {target: checkout.planned(target) for target in targets}
    again = [
        f"{targets[1]} is complete",
        "draw the figures",
        f"freeze {targets[1]}",
        "make the tables",
        "stage the bundle",
        "verify the bundle",
    ]
    assert before == {targets[0]: [], targets[1]: again, targets[2]: []}
    kept = checkout.files("deliverables", "manifests", "data", "configs")
    results = [f"results/{name}/{part}" for name in SUITES for part in ("train", "eval", "tables", "figures", "timing")]
    kept |= checkout.files(*(name for name in results if (checkout.path / name).is_dir()))
    kept |= checkout.files("results/.state/trained", "logs")
    done = checkout.c2o("gc")
    assert done.returncode == 0, done.stdout + done.stderr
    for reason in ("staged bundles that are frozen as deliverables: 3", "states of trainings that are finished: 7",
                   "feature caches that no training is left for"):  # fmt: skip
        assert reason in done.stdout
    now = checkout.files("deliverables", "manifests", "data", "configs", "results", "logs")
    assert {name: now.get(name) for name in kept} == kept
    assert not list(checkout.path.glob("results/*/bundle")) and not list(checkout.path.glob("results/.state/*/*/seed*"))
    assert {target: checkout.planned(target) for target in targets} == before
    assert checkout.c2o("verify").returncode == 0
    said = checkout.c2o("adopt", SUITES[0])
    assert said.returncode == 0 and f"{SUITES[0]}: 14 of 14 jobs adopted" in said.stdout, (
        "its bundle stands for the staged"
    )
    assert "nothing to remove" in checkout.c2o("gc").stdout
