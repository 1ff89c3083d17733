"""The results manifest: a function of the rows and the files, not of who merged what when."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_evidence import digest_cache, manifest
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import LockError, TableError
from c2o_evidence.lock import locked
from c2o_evidence.manifest import merge_results_manifest, read_results_manifest, results_rows
from c2o_evidence.tsv import write_tsv

SHA = "0123456789abcdef" * 4


def make_results(root, seeds, suite="toy", base=40.0):
    """One evaluated checkpoint a seed, rows `a` and `b`, two eval seeds; the manifest rows by seed."""
    folder = root / "results" / suite
    result = []
    for seed in seeds:
        ckpt = folder / f"train/exp/seed{seed}/model.safetensors"
        ckpt.parent.mkdir(parents=True, exist_ok=True)
        ckpt.write_bytes(b"weights")
        runs = [
            {
                "exp_name": name,
                "ckpt_path": f"train/exp/seed{seed}/model.safetensors",
                **{f"{part}_sha256": SHA for part in ("ckpt", "config", "dataset", "code")},
                "train_seed": seed,
                "eval_seed": eval_seed,
                "sample_step": 1,
                **dict.fromkeys(
                    ["AP", "AP50", "AP75", "APs", "APm", "APl"], base + seed + 2 * eval_seed + (name == "b")
                ),
            }
            for name in ("a", "b")
            for eval_seed in (0, 1)
        ]
        tsv = folder / f"eval/exp/seed{seed}/results.tsv"
        write_tsv(tsv, runs, "results")
        result.append(results_rows(tsv, folder, root))
    return result


def test_rows_of_a_results_tsv(tmp_path):
    first, second = make_results(tmp_path, [3])[0]
    assert (first["exp_id"], second["exp_id"]) == ("a", "b")
    assert first["tsv_path"] == "results/toy/eval/exp/seed3/results.tsv"
    assert first["ckpts"] == "results/toy/train/exp/seed3/model.safetensors"
    assert (first["ckpt_sha256s"], first["n_runs"]) == (SHA, 2)
    # APs 43 and 45
    assert (first["mean_AP"], first["std_AP_pop"], second["mean_AP"]) == (44.0, 1.0, 45.0)


def test_merge_reads_back_sorted(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    rows = make_results(tmp_path, [1, 0])
    merge = merge_results_manifest(path, rows[0] + rows[1])
    assert merge.dropped == ()
    keys = [(row["exp_id"], row["tsv_path"][-17:-12]) for row in merge.rows]
    assert keys == sorted(keys) and len(keys) == 4
    assert read_results_manifest(path) == list(merge.rows)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_order_and_grouping_of_merges_gives_the_same_bytes(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("r")
    rows = [row for group in make_results(root, [0, 1, 2]) for row in group]
    expected_path = root / "manifests/expected.tsv"
    merge_results_manifest(expected_path, rows)
    path = root / "manifests/results_manifest.tsv"
    order = data.draw(st.permutations(rows + rows[:2]))
    while order:
        count = data.draw(st.integers(1, len(order)))
        merge_results_manifest(path, order[:count])
        order = order[count:]
    assert path.read_bytes() == expected_path.read_bytes()


def test_merging_again_touches_nothing(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    rows = make_results(tmp_path, [0])[0]
    merge_results_manifest(path, rows)
    before = path.stat()
    merge_results_manifest(path, rows)
    merge_results_manifest(path, [])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_rows_that_no_longer_hold_are_dropped_and_said(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    rows = make_results(tmp_path, [0, 1, 2, 3])
    merge_results_manifest(path, [row for group in rows for row in group])
    results = tmp_path / "results/toy"
    (results / "eval/exp/seed0/results.tsv").unlink()
    (results / "train/exp/seed1/model.safetensors").unlink()
    new = make_results(tmp_path, [2], base=50.0)[0]
    merge = merge_results_manifest(path, new[:1])
    assert [str(item) for item in merge.dropped] == [
        "results/toy/eval/exp/seed0/results.tsv (a): dropped from the manifest: the TSV is missing",
        "results/toy/eval/exp/seed0/results.tsv (b): dropped from the manifest: the TSV is missing",
        "results/toy/eval/exp/seed1/results.tsv (a): dropped from the manifest: "
        "the checkpoint results/toy/train/exp/seed1/model.safetensors is missing",
        "results/toy/eval/exp/seed1/results.tsv (b): dropped from the manifest: "
        "the checkpoint results/toy/train/exp/seed1/model.safetensors is missing",
        "results/toy/eval/exp/seed2/results.tsv (b): dropped from the manifest: the TSV has changed",
    ]
    kept = [(row["exp_id"], row["tsv_path"]) for row in read_results_manifest(path)]
    assert kept == [
        ("a", "results/toy/eval/exp/seed2/results.tsv"),
        ("a", "results/toy/eval/exp/seed3/results.tsv"),
        ("b", "results/toy/eval/exp/seed3/results.tsv"),
    ]


def test_new_rows_must_hold(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    row = make_results(tmp_path, [0])[0][0]
    cases = [
        ({"tsv_sha256": SHA}, r"results.tsv \(a\): the TSV has changed"),
        ({"tsv_path": "results/none.tsv"}, r"results/none.tsv \(a\): the TSV is missing"),
        ({"ckpts": "results/none"}, "the checkpoint results/none is missing"),
        ({"ckpts": "../none"}, "'../none': the path climbs out of its directory"),
        ({"tsv_path": "../x"}, "tsv_path: '../x' is not a usable path"),
        ({"n_runs": 0}, "n_runs: 0 is below 1"),
    ]
    for change, message in cases:
        with pytest.raises(TableError, match=message):
            merge_results_manifest(path, [{**row, **change}])
    assert not path.exists()


def test_a_merge_reads_what_was_touched_and_looks_at_the_rest_once(tmp_path, monkeypatch):
    """Rows a and b share a TSV: 50 rows, 25 TSVs and checkpoints, of which a merge of one more pair reads one."""
    monkeypatch.setattr(digest_cache, "REST_NS", -(10**12))
    read, looked_at = [], []
    lstat = os.lstat
    monkeypatch.setattr(manifest, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    monkeypatch.setattr(os, "lstat", lambda path: looked_at.append(str(path)) or lstat(path))
    path = tmp_path / "manifests/results_manifest.tsv"
    rows = make_results(tmp_path, range(26))
    read.clear()
    merge_results_manifest(path, [row for group in rows[:25] for row in group])
    assert len(read) == 25
    read.clear()
    looked_at.clear()
    assert len(merge_results_manifest(path, rows[25]).rows) == 52
    assert [name[-17:] for name in read] == ["seed25/results.tsv"[-17:]]
    directories = {str(parent) for parent in (tmp_path / "results/toy").rglob("*") if parent.is_dir()}
    assert {looked_at.count(name) for name in directories} == {1}
    read.clear()
    (tmp_path / "results/toy/eval/exp/seed3/results.tsv").write_text("edited\n")
    merge = merge_results_manifest(path, [])
    assert [name[-17:] for name in read] == ["/seed3/results.tsv"[-17:]]
    assert [item.reason for item in merge.dropped] == ["the TSV has changed"] * 2


def test_links_that_leave_the_repository_are_refused_in_any_part(tmp_path):
    root, path = tmp_path / "repo", tmp_path / "repo/manifests/results_manifest.tsv"
    rows = make_results(root, [0, 1])
    merge_results_manifest(path, rows[0] + rows[1])
    (root / "results/toy/eval").rename(tmp_path / "outside")
    (root / "results/toy/eval").symlink_to(tmp_path / "outside")
    reasons = {item.reason for item in merge_results_manifest(path, []).dropped}
    assert len(reasons) == 2 and all("a link leads out of its directory" in reason for reason in reasons)
    (root / "results/toy/eval").unlink()
    (tmp_path / "outside").rename(root / "results/moved")
    (root / "results/toy/eval").symlink_to(root / "results/moved")
    assert merge_results_manifest(path, rows[0]).dropped == (), "a link inside is fine"


def test_a_malformed_manifest_is_not_overwritten(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    path.parent.mkdir()
    path.write_text("edited by hand\n")
    with pytest.raises(
        TableError, match="results_manifest.tsv: header: column 1 is 'edited by hand' instead of 'exp_id'"
    ):
        merge_results_manifest(path, make_results(tmp_path, [0])[0])
    assert path.read_text() == "edited by hand\n"


WORKER = """
import sys
from pathlib import Path
from c2o_evidence.manifest import merge_results_manifest, results_rows
root, first = Path(sys.argv[1]), int(sys.argv[2])
suite = root / "results/toy"
for seed in range(first, 24, 2):
    rows = results_rows(suite / f"eval/exp/seed{seed}/results.tsv", suite, root)
    merge_results_manifest(root / "manifests/results_manifest.tsv", rows)
"""


def test_two_processes_lose_nothing(tmp_path):
    rows = make_results(tmp_path, range(24))
    merge_results_manifest(tmp_path / "manifests/expected.tsv", [row for group in rows for row in group])
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(i)]) for i in (0, 1)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    manifests = tmp_path / "manifests"
    assert (manifests / "results_manifest.tsv").read_bytes() == (manifests / "expected.tsv").read_bytes()


def test_a_held_lock_is_waited_for_and_then_said(tmp_path):
    path = tmp_path / "manifests/results_manifest.tsv"
    rows = make_results(tmp_path, [0])[0]
    code = (
        "import sys\nfrom c2o_evidence.lock import locked\n"
        "with locked(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        message = f"results_manifest.tsv: is locked by process {holder.pid} for more than 0.1 s; wait for it"
        with pytest.raises(LockError, match=message):
            merge_results_manifest(path, rows, timeout=0.1)
    finally:
        holder.kill()
        holder.communicate()
    merge_results_manifest(path, rows, timeout=5)  # a killed holder holds nothing
    assert len(read_results_manifest(path)) == 2


def test_a_lock_can_be_taken_again_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), locked(tmp_path / "x"):
        raise RuntimeError("boom")
    with locked(tmp_path / "x", timeout=0):
        assert not (tmp_path / "x").exists()
    assert [path.name for path in Path(tmp_path).iterdir()] == [".x.lock"]
