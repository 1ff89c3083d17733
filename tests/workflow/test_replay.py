"""Levels eval and train of `c2o verify` on a real bundle: the work done again, and an exchanged checkpoint found."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

VERDICTS = {"bit-exact": 16, "within-tolerance": 0, "differs": 0, "not-replayed": 0}


@pytest.fixture(scope="module")
def checkout(clean, tmp_path_factory):
    """A built checkout of one's own, its room and all."""
    return clean.copy(tmp_path_factory.mktemp("replayed") / "checkout")


def replayed(checkout, bundle: Path | str, level: str, *arguments: str) -> tuple[int, dict]:
    done = checkout.evidence("verify", str(bundle), "--level", level, "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def exchange(bundle: Path, name: str) -> None:
    """Change the weights in a checkpoint, and every digest that follows from it, so that nothing else shows it."""
    files = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    data = bytearray(files[bundle / name])
    data[-4000:] = bytes(4000)
    changed = {bundle / name: bytes(data)}
    while changed:
        path, new = changed.popitem()
        old_digest, digest = (hashlib.sha256(content).hexdigest().encode() for content in (files[path], new))
        files[path] = new
        path.chmod(0o644)
        path.write_bytes(new)
        for other, content in files.items():
            if old_digest in (now := changed.get(other, content)) and other != path:
                changed[other] = now.replace(old_digest, digest)


def test_every_run_of_a_bundle_comes_out_again_from_its_checkpoints(checkout) -> None:
    code, report = replayed(checkout, "deliverables/tiny", "eval")
    assert (code, report["verified"], report["replay"]["counts"]) == (0, True, VERDICTS)
    assert len(report["replay"]["runs"]) == 4 * 2 * 2  # rows x train x eval seeds
    assert all(run["same_detections"] and not run["reasons"] for run in report["replay"]["runs"])
    assert [path.name for path in (checkout.path / "results/.state/replay").iterdir() if path.is_dir()] == []


def test_everything_trained_again_from_nothing_gives_the_same_files(checkout) -> None:
    code, report = replayed(checkout, "deliverables/tiny", "train", "--keep")
    assert (code, report["replay"]["counts"]) == (0, VERDICTS)
    assert [item["verdict"] for item in report["replay"]["checkpoints"]] == ["same-file"] * 7
    assert [row["verdict"] for row in report["replay"]["tables"]] == ["bit-exact"] * 4
    records = list(Path(report["replay"]["room"]).glob("results/tiny/train/*/*/record.json"))
    taken = [path for path in records if "taken_from" in json.loads(path.read_text())["parameters"]]
    assert len(records) == 7 and not taken, "trained in the room, not taken from what the checkout has"


def test_a_checkpoint_that_was_exchanged_for_another_is_found(checkout, tmp_path) -> None:
    """All digests and tables fit; only evaluating it again tells. The code is another one too, and is named."""
    bundle = Path(shutil.copytree(checkout.path / "deliverables/tiny", tmp_path / "tiny"))
    exchange(bundle, "train/student/seed1/model.safetensors")
    code, report = replayed(checkout, bundle, "tables")
    assert (code, report["findings"]) == (0, [])
    with (checkout.path / "c2o_model/evaluation/run.py").open("a") as stream:
        stream.write("# a comment\n")
    code, report = replayed(checkout, bundle, "eval")
    assert (code, report["kinds"]) == (1, {"not-reproduced": 2})
    rows = [(finding["path"].rpartition("/")[0], finding["row"]) for finding in report["findings"]]
    assert rows == [
        ("eval/student/seed1", f"exp_name=student_1, train_seed=1, eval_seed={eval_seed}") for eval_seed in (0, 1)
    ]
    assert report["replay"]["counts"] == VERDICTS | {"bit-exact": 14, "differs": 2}
    reasons = [{reason["what"] for reason in run["reasons"]} for run in report["replay"]["runs"]]
    assert reasons == [{"code digest (evaluate)"}] * 16
