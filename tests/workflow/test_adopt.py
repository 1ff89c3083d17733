"""`c2o adopt` with the real workflow: a copy, a clone with a bundle, damage, edits; and the notes it has written."""

import base64
import fcntl
import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from c2o_evidence.adopt import check_suite, suite_jobs
from c2o_evidence.adopt.from_bundle import copy_results
from c2o_evidence.adopt.layout import Layout
from c2o_evidence.errors import EvidenceError
from c2o_evidence.suite import load_suite

pytestmark = pytest.mark.e2e

FIRST, SECOND = "guidance_sweep_reduced", "ablation_label_reduced"  # of the fixture built_suites
TRAIN = f"results/{FIRST}/train"
AFTER_RESULTS = [
    f"deliverables/{FIRST} is complete",
    "draw the figures",
    f"freeze deliverables/{FIRST}",
    "index the results",
    "make the tables",
    "stage the bundle",
    "verify the bundle",
]
WARM = "configs/models/digits/warmstart.yaml"


@pytest.fixture(scope="module")
def adopted(built_suites, tmp_path_factory):
    """A copy that Snakemake has no notes of, as a clone writes files: in any order, with any times. Adopted."""
    place = tmp_path_factory.mktemp("adopted") / "checkout"
    checkout = built_suites.copy(place, ".snakemake", "features")
    for number, path in enumerate(sorted(place.rglob("*"), reverse=True)):
        if path.is_file():
            os.utime(path, (10**9 + number * 10,) * 2)
    checkout.said = checkout.c2o("adopt")
    assert checkout.said.returncode == 0, checkout.said.stdout + checkout.said.stderr
    return checkout


def notes(checkout) -> dict[str, dict]:
    """Snakemake's notes by the file they are about."""
    found = {}
    for path in (checkout.path / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            parts = [part.removeprefix("@") for part in path.relative_to(checkout.path / ".snakemake/metadata").parts]
            found[base64.urlsafe_b64decode("".join(parts)).decode()] = json.loads(path.read_text())
    return found


def test_what_is_noted_is_what_snakemake_had_noted_when_it_made_the_files(adopted, built_suites) -> None:
    made, noted = notes(built_suites), notes(adopted)
    made = {name: note for name, note in made.items() if not name.endswith("/frozen")}  # a note for the next job alone
    assert noted.keys() == made.keys() and len(noted) > 100
    for note in made.values():
        note["input_checksums"] = {p: d for p, d in note["input_checksums"].items() if not p.endswith("/frozen")}
    for name, note in noted.items():
        for key in ("rule", "params", "input", "input_checksums", "record_format_version", "incomplete"):
            assert note[key] == made[name][key], (name, key)
        assert 0 <= note["endtime"] - note["starttime"] < 600
    record = json.loads((adopted.path / TRAIN / "warmstart/seed0/record.json").read_text())
    took = datetime.fromisoformat(record["ended"]) - datetime.fromisoformat(record["started"])
    note = noted[f"{TRAIN}/warmstart/seed0/model.safetensors"]
    assert note["endtime"] - note["starttime"] == pytest.approx(took.total_seconds())


def test_the_jobs_of_a_suite_are_those_of_the_workflow(built_suites) -> None:
    made = notes(built_suites)
    rules = {"train": {"train", "distill"}, "eval": {"evaluate"}}
    for name in (FIRST, SECOND, "attention_bench_reduced"):
        jobs = suite_jobs(load_suite(name, built_suites.path))
        for job in jobs:
            assert made[job.note]["rule"] in rules.get(job.kind, {job.kind})
            if job.kind in ("train", "eval", "timing", "tables"):
                assert sorted(job.inputs) == made[job.note]["input"]
        of_suite = {path for path in made if f"/{name}/" in path or path.endswith(f"/{name}")}
        known = {path for job in jobs for path in (*job.outputs, job.note)}
        assert of_suite - known == {f"results/{name}/frozen"}  # of the freeze for the delivery: gone when that is done


def test_after_adoption_nothing_is_to_be_made_and_an_edit_makes_what_depends_on_it(adopted) -> None:
    assert "attention_bench_reduced: 7 of 7 jobs adopted" in adopted.said.stdout
    assert f"{FIRST}: 14 of 14 jobs adopted" in adopted.said.stdout
    for name in (FIRST, SECOND, "attention_bench_reduced"):
        assert adopted.planned(f"deliverables/{name}") == []
    (adopted.path / TRAIN / "baseline/seed1/model.safetensors").touch()
    assert adopted.planned(f"deliverables/{FIRST}") == [], "a checkpoint that only looks new"
    adopted.edit(WARM, "BASE_LR: 0.001", "BASE_LR: 0.002")
    try:
        jobs = [f"{job} warmstart, seed {seed}" for job in ("train", "evaluate") for seed in (0, 1)]
        assert adopted.planned(f"deliverables/{FIRST}") == sorted([*AFTER_RESULTS, *jobs])
        told = adopted.c2o("adopt", FIRST, "--dry-run", "--json")
    finally:
        adopted.edit(WARM, "BASE_LR: 0.002", "BASE_LR: 0.001")
    assert told.returncode == 1
    states = json.loads(told.stdout)["suites"][FIRST]
    assert states["train/warmstart/seed0"]["reasons"] == ["configuration: SOLVER.BASE_LR: was 0.001, now 0.002"]
    assert states["train/baseline/seed0"]["state"] == states["data"]["state"] == "current"
    again = json.loads(adopted.c2o("adopt", "--json").stdout)
    assert again["snakemake_notes"]["noted"] == again["snakemake_notes"]["to_be_made_again"] == 0
    assert again["new_in_training_store"] == 0


def test_a_flipped_bit_is_named_and_that_job_with_its_dependants_made_again(built_suites, tmp_path) -> None:
    checkout = built_suites.copy(tmp_path / "flipped", ".snakemake", "features", "trained")
    place = checkout.path / TRAIN / "baseline/seed1/model.safetensors"
    data = bytearray(place.read_bytes())
    data[-1000] ^= 4
    place.write_bytes(data)
    before = checkout.files("results", "deliverables", "data")
    said = checkout.c2o("adopt", FIRST)
    assert said.returncode == 1
    assert f"{TRAIN}/baseline/seed1/model.safetensors: is not what the job has written: sha256 expected" in said.stdout
    assert {k: v for k, v in checkout.files("results", "deliverables", "data").items() if k in before} == before
    trained = ["train baseline, seed 1", "train warmstart, seed 1", "evaluate warmstart, seed 1"]
    assert checkout.planned(f"deliverables/{FIRST}") == sorted([*AFTER_RESULTS, *trained])
    # What hangs on the damaged file alone comes back with it.
    said = checkout.c2o("adopt", "--from", f"deliverables/{FIRST}")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "baseline/seed1/model.safetensors: was damaged; restored from the bundle" in said.stdout
    assert checkout.planned(f"deliverables/{FIRST}") == []


def test_a_clone_with_a_bundle_trains_nothing_that_is_in_it(built_suites, checkouts, tmp_path) -> None:
    clone = checkouts.create(tmp_path / "clone", stubs=False)
    bundle = built_suites.path / "deliverables" / FIRST
    assert clone.c2o("adopt").returncode == 2
    said = clone.c2o("adopt", "--from", str(bundle))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "the images are not in a bundle; the data set was made again" in said.stdout
    below = (f"results/{FIRST}/train", f"results/{FIRST}/eval", f"results/{FIRST}/tables", f"results/{FIRST}/figures")
    originals = {name: data for name, data in built_suites.files(*below).items() if "timestamp" not in name}
    assert {name: data for name, data in clone.files(*below).items() if "timestamp" not in name} == originals
    left = [
        f"deliverables/{FIRST} is complete",
        f"freeze deliverables/{FIRST}",
        "stage the bundle",
        "verify the bundle",
    ]
    assert clone.planned(f"deliverables/{FIRST}") == left
    # The chain is there for another suite: of its trainings, those are taken that the bundle had.
    clone.build(f"results/{SECOND}/train/warmstart/seed1/model.safetensors")
    for place in ("backbone/seed0", "baseline/seed1", "warmstart/seed1"):
        log = (clone.path / "logs" / SECOND / f"train/{place}.log").read_text()
        assert log.startswith(f"not trained again: {FIRST}/{place} is this very training")
    index = (clone.path / "manifests/results_manifest.tsv").read_text()
    assert index.count(f"results/{FIRST}/eval/warmstart/seed0/results.tsv") == 8, "a row for each of the suite's"


def test_another_run_in_the_directory_is_respected(adopted) -> None:
    with open(adopted.path / ".snakemake/c2o.lock", "a+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write("4711 0\n")
        lock.flush()
        for command in ("adopt", "gc"):
            done = adopted.c2o(command)
            assert done.returncode == 2 and "another run (process 4711) is working in this directory" in done.stderr
        assert adopted.c2o("adopt", FIRST, "--dry-run").returncode == 0


FAULTS = {
    "a cut checkpoint": ("train/backbone/seed0/model.safetensors", lambda b: b[:-1], "is not what the job has written"),
    "another sidecar": (
        "train/backbone/seed0/model.safetensors.sha256",
        lambda b: b"0" * 64 + b[64:],
        "is not what the job has written",
    ),
    "a record cut off": ("train/baseline/seed0/record.json", lambda b: b[:100], "is not JSON"),
    "the record of another seed": (
        "eval/warmstart/seed0/record.json",
        lambda b: b.replace(b'"seed": "0"', b'"seed": "1"'),
        "is of the seed 1, not of 0",
    ),
    "a record of other sources": (
        "eval/warmstart/seed0/record.json",
        lambda b: _with(b, "code_sha256", "a" * 64, digest="b" * 64),
        "code: the sources of `evaluate` have changed",
    ),
    "another parent": (
        "train/warmstart/seed1/record.json",
        lambda b: _material(b, "init", "c" * 64),
        "is not what the job has read: sha256 expected " + "c" * 64,
    ),
    "an edited cell": ("eval/warmstart/seed1/results.tsv", lambda b: b + b"\n", "is not what the job has written"),
    "an edited table": ("tables/summary.md", lambda b: b + b" ", "is not what the job has written"),
    "an edited index": ("manifest.tsv", lambda b: b.replace(b"0.0", b"0.5", 1), "does not follow from the results"),
    "another figure": ("figures/summary_strip.png", lambda b: b + b" ", "no bundle here lists these figures"),
    "a report of another bundle": (
        "verify.json",
        lambda b: b.replace(b'"verified": true', b'"verified": false'),
        "is not of the bundle that lies here",
    ),
}


def _with(data: bytes, key: str, value: str, digest: str) -> bytes:
    document = json.loads(data)
    document[key], document["parameters"]["digest"] = value, digest
    return json.dumps(document).encode()


def _material(data: bytes, name: str, digest: str) -> bytes:
    document = json.loads(data)
    for entry in document["materials"]:
        entry["sha256"] = digest if entry["name"] == name else entry["sha256"]
    return json.dumps(document).encode()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named_at_its_job_and_stops_its_dependants(adopted, fault: str) -> None:
    name, change, message = FAULTS[fault]
    path = adopted.path / "results" / FIRST / name
    before = path.read_bytes()
    path.write_bytes(change(before))
    try:
        assert path.read_bytes() != before
        verdicts = check_suite(Layout(adopted.path, load_suite(FIRST, adopted.path)))
    finally:
        path.write_bytes(before)
    place = name.rpartition("/")[0] or name.partition(".")[0]
    assert verdicts[place].state in ("stale", "unproven") and message in verdicts[place].reasons[0]
    below = {place}
    for verdict in verdicts.values():  # parents first
        if not below.isdisjoint(verdict.job.parents):
            below.add(verdict.job.place)
        if verdict.job.kind not in ("bundle", "verify", "deliver"):  # which hold copies of all results
            assert (verdict.state == "current") == (verdict.job.place not in below), verdict


def test_a_link_in_the_place_of_a_result_is_not_followed(adopted, tmp_path) -> None:
    path = adopted.path / TRAIN / "backbone/seed0/model.safetensors"
    away = tmp_path / "model.safetensors"
    shutil.move(path, away)
    path.symlink_to(away)
    try:
        verdicts = check_suite(Layout(adopted.path, load_suite(FIRST, adopted.path)))
    finally:
        path.unlink()
        shutil.move(away, path)
    assert verdicts["train/backbone/seed0"].reasons == (f"{TRAIN}/backbone/seed0/model.safetensors: is a link",)


def test_a_copy_from_a_bundle_goes_on_where_it_was_stopped_and_leaves_other_files(
    adopted, tmp_path, monkeypatch
) -> None:
    clone, suite = tmp_path / "clone", load_suite(FIRST, adopted.path)
    source = Layout(adopted.path, suite, adopted.path / "deliverables" / FIRST)
    verdicts = check_suite(source)
    source.root = clone
    mine = clone / TRAIN / "baseline/seed0/curve.tsv"
    mine.parent.mkdir(parents=True)
    mine.write_text("my own\n")
    real, left = shutil.copyfile, [4]

    def copyfile(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(EvidenceError, match="No space left on device"):
        copy_results(source, verdicts)
    found = {path for path in clone.rglob("*") if path.is_file()}
    assert len(found) == 5 and not list(clone.rglob("record.json")), "the record comes last"
    monkeypatch.undo()
    done = copy_results(source, verdicts)
    assert done.kept == [
        f"{TRAIN}/baseline/seed0/curve.tsv: is not the bundle's file and was left; move it away to take the bundle's"
    ]
    assert mine.read_text() == "my own\n" and not (mine.parent / "record.json").exists()
    assert done.files == sum(len(v.job.outputs) for v in verdicts.values() if v.state == "current") - 4 - 5 - 1


def test_the_profile_hashes_inputs_that_look_new() -> None:
    profile = yaml.safe_load((Path(__file__).resolve().parents[2] / "profiles/default/profile.yaml").read_text())
    assert profile["max-checksum-file-size"] == "1TB"
