"""The main job through SLURM: the same bytes as on this machine, down to the frozen bundle."""

import csv
import re
from pathlib import Path

import pytest

from tests.slurm.checkouts import ClusterCheckout
from tests.slurm.toy_cluster import ToyCluster

NAME = "step1_5seed_reduced"
BUNDLE = f"deliverables/{NAME}"
# One train seed: with both, this test alone would take four minutes. Groups of several are in test_profile.py.
SEEDS = ("  train_seeds: [0, 1]\n  eval_seeds: [0]", "  train_seeds: [0]\n  eval_seeds: [0]")
# What holds times, or is made of what does; everything else must be the same.
TIMES = re.compile(
    r"SHA256SUMS|report\.html|ro-crate-metadata\.json|(.*/)?record\.json|timing/timing\.tsv|attention/attention\.tsv"
    r"|figures/(attention_cost|speed_quality)\.(svg|png|pdf)|tables/(main|summary)\.(tsv|md|tex)"
)
EVALUATED = ("baseline", "warmstart", "distill_20to1", "geofeat", "extra_training")
TIMED_COLUMNS = {"inference_s_per_img", "inference_fps", "speedup", "hardware_id"}


def bundle(checkout: ClusterCheckout) -> dict[str, bytes]:
    return {path.removeprefix(f"{BUNDLE}/"): data for path, data in checkout.files(BUNDLE).items()}


def without_times(table: bytes) -> list[dict[str, str]]:
    rows = csv.DictReader(table.decode().splitlines(), delimiter="\t")
    return [{name: cell for name, cell in row.items() if name not in TIMED_COLUMNS} for row in rows]


@pytest.mark.e2e
def test_the_bundle_is_the_same_as_made_here(cluster: ToyCluster, tmp_path: Path) -> None:
    here = ClusterCheckout.create(tmp_path / "here", stubs=False)
    here.edit("configs/chains/digits.yaml", *SEEDS)
    (here.path / "configs/suites/tiny.yaml").unlink()
    there = ClusterCheckout(here.copy(tmp_path / "there").path).on(cluster)
    local = here.start(BUNDLE, "--cores", "1")  # beside the other: SLURM's jobs leave gaps
    try:
        done = there.run_on_slurm(BUNDLE, timeout=1800)
        local.wait(timeout=1800)
    finally:
        if local.poll() is None:
            here.kill(local)
    assert done.returncode == 0, done.stdout + cluster.logs()
    assert local.returncode == 0, (here.path / "output.txt").read_text()

    one, other = bundle(here), bundle(there)
    assert one.keys() == other.keys()
    differ = [path for path in one if one[path] != other[path]]
    assert [path for path in differ if not TIMES.fullmatch(path)] == []
    same = one.keys() - set(differ)
    assert sum(path.endswith("model.safetensors") for path in same) == 6  # backbone and five
    assert sum(path.endswith("results.tsv") for path in same) == sum("detections" in path for path in same) == 5
    assert {"manifest.tsv", "tables/runs.tsv", "tables/comparisons.tsv", "suite.yaml"} <= same
    for table in ("tables/summary.tsv", "tables/main.tsv"):
        assert without_times(one[table]) == without_times(other[table]) != []

    verified = there.evidence("verify", BUNDLE, "--level", "tables")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    logs = there.path / "logs/slurm"
    assert {f"{path.parent.relative_to(logs)}" for path in logs.rglob("*.log")} == {
        "rule_data/digits_mini",
        *(f"rule_train/{NAME}_{name}_0" for name in ("backbone", "baseline", "warmstart", "extra_training", "geofeat")),
        f"rule_distill/{NAME}_distill_20to1_0",
        *(f"group_{NAME}-{name}_evaluate" for name in EVALUATED),
        f"rule_timing/{NAME}",
        f"rule_attention/{NAME}",
        f"rule_gallery/{NAME}",
        f"group_{NAME}-report_figures_tables",
        f"rule_verify/{NAME}",
    }, "each job has run on the cluster, but for manifest, bundle and freeze"
