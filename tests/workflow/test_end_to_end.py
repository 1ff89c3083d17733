"""The real workflow from nothing to a frozen bundle: real data and training, tiny budget, 2 x 2 seeds."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from c2o_evidence.verify import verify
from tests.c2o_evidence.bundle.conftest import drawing_once
from tests.drills.mutation_cases import all_cases
from tests.drills.mutation_expected import check_findings
from tests.drills.mutation_seals import facts, seal

pytestmark = pytest.mark.e2e

TINY = "configs/suites/tiny.yaml"
# What equal work must give in equal bytes. Records, timings and what is made of them hold times.
SAME_BYTES = re.compile(
    r"data/digits_mini/.*|results/tiny/(train/.*/(model.safetensors|model.safetensors.sha256|config.yaml|curve.tsv)"
    r"|eval/.*/(results.tsv|detections.safetensors)|tables/(runs|comparisons).tsv|manifest.tsv"
    r"|gallery/(gallery.json|images/\d.png))"
)


def same_bytes(checkout) -> dict[str, bytes]:
    found = checkout.files("data/digits_mini", "results/tiny")
    return {path: data for path, data in found.items() if SAME_BYTES.fullmatch(path)}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


@pytest.mark.stack_feature("evaluation", stack="detectron2")
def test_the_bundle_is_frozen_complete_and_verified(clean) -> None:
    bundle = clean.path / "deliverables/tiny"
    done = clean.evidence("verify", "deliverables/tiny", "--level", "tables")
    assert done.returncode == 0 and "16 runs" in done.stdout, done.stdout + done.stderr
    alone = subprocess.run([sys.executable, "-I", "-S", "verify.py"], cwd=bundle, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert len((bundle / "tables/runs.tsv").read_text().splitlines()) == 1 + 4 * 2 * 2  # rows x train x eval seeds
    assert len((bundle / "manifest.tsv").read_text().splitlines()) == 1 + 4 * 2  # rows x train seeds
    writable = [p for p in bundle.rglob("*") if p.is_file() and p.stat().st_mode & 0o222]
    assert [p.name for p in writable] == [".snakemake_timestamp"], "Snakemake's own, the rest is read-only"
    ledger = (clean.path / "manifests/deliverables.tsv").read_text().splitlines()
    assert len(ledger) == 2 and ledger[1].startswith("tiny\t1\tcurrent\t")
    index = (clean.path / "manifests/results_manifest.tsv").read_text().splitlines()
    assert len(index) == 1 + 4 * 2  # rows x train seeds, one TSV a checkpoint


def test_a_sample_of_the_mutation_drill(clean, tmp_path) -> None:
    """What the drill does to a bundle made by hand (tests/drills) is found by the same names in one of the workflow."""
    bundle = clean.path / "deliverables/tiny"
    cases = [case for case in all_cases() if (bundle / case.path).is_file() and case.kind != "suite"]
    files = [case for case in cases if case.seal == "none"]
    tables = [case for case in cases if case.seal in ("lists", "digests")]
    chance, before = random.Random(20), facts(bundle, derived=True)
    wrong = []
    with drawing_once():
        for case in [*chance.sample(files, 12), *chance.sample(tables, 10)]:
            copy = Path(shutil.copytree(bundle, tmp_path / case.name / "tiny"))
            for path in copy.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            case.run(copy)
            seal(copy, case.seal, before)
            try:
                check_findings(case, verify(copy, "files" if case.seal == "none" else "tables", jobs=1))
            except AssertionError as error:
                wrong.append(f"{case.name}: {error}")
            shutil.rmtree(copy)
    assert wrong == [], "\n".join(wrong)


def test_the_notebook_runs_on_a_bundle(clean, monkeypatch) -> None:
    nbformat, nbclient = (
        pytest.importorskip(name, reason="`make extras` installs it") for name in ("nbformat", "nbclient")
    )
    pytest.importorskip("ipykernel", reason="`make extras` installs it")
    bundle = clean.path / "deliverables/tiny"
    monkeypatch.setenv("C2O_BUNDLE", str(bundle))
    notebook = nbformat.read(Path(__file__).resolve().parents[2] / "docs/notebooks/first-look.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept in the repository"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(clean.path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.get("text", "") for output in outputs)
    assert "verified {" in said and "'runs': 16" in said and "1 of 1 drawn in" in said, said
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3, "the runs, the denoising, the prediction"
    table = next(
        output["data"]["text/plain"] for output in outputs if "mean_AP" in output.get("data", {}).get("text/plain", "")
    )
    for line in (bundle / "tables/summary.tsv").read_text().splitlines()[1:]:
        assert line.split("\t")[0] in table


def test_records_name_the_parents_and_the_pins(clean) -> None:
    results = clean.path / "results/tiny"
    student = json.loads((results / "train/student/seed1/record.json").read_text())
    materials = {entry["name"]: entry for entry in student["materials"]}
    sidecar = (results / "train/warmstart/seed1/model.safetensors.sha256").read_text()
    assert student["rule"] == "distill"
    assert materials["init"]["sha256"] == materials["teacher"]["sha256"] == sidecar.split()[0]
    pins = student["host"]["hardware"]["pins"]
    assert pins["PYTHONHASHSEED"] == "0" and pins["OMP_NUM_THREADS"] == "1" and pins["ATEN_CPU_CAPABILITY"]


def test_a_second_run_does_nothing(clean) -> None:
    assert clean.planned() == []


def test_two_clean_builds_give_the_same_bytes(clean, make) -> None:
    other = make("other")
    other.build()
    assert differences(same_bytes(clean), same_bytes(other)) == []
    assert sum(path.endswith(".safetensors") for path in same_bytes(clean)) == 7 + 6  # checkpoints, detections


def test_a_bit_flipped_checkpoint_is_refused_and_kept(clean, tmp_path) -> None:
    checkout = clean.copy(tmp_path / "flipped")
    name = "results/tiny/train/warmstart/seed1/model.safetensors"
    data = bytearray((checkout.path / name).read_bytes())
    data[-1000] ^= 4
    (checkout.path / name).write_bytes(data)
    (checkout.path / "results/tiny/eval/warmstart/seed1/results.tsv").unlink()
    done = checkout.run("results/tiny/eval/warmstart/seed1/results.tsv")
    assert done.returncode == 1 and f"Error: {name}: sha256: expected" in done.stdout
    assert (checkout.path / name).read_bytes() == data


def test_another_content_is_not_frozen_under_the_same_name_unless_asked_for(clean, tmp_path) -> None:
    checkout = clean.copy(tmp_path / "changed")
    frozen = checkout.files("deliverables")
    checkout.edit(TINY, "method: Student", "method: A better student")
    done = checkout.run("deliverables/tiny")
    assert done.returncode == 1 and "another content is frozen under this name" in done.stdout
    assert "--config refreeze=true" in done.stdout
    assert checkout.files("deliverables") == frozen, "the frozen bundle is as it was"
    checkout.build("deliverables/tiny", "--config", "refreeze=true")
    assert "A better student" in (checkout.path / "deliverables/tiny/tables/main.md").read_text()
    rows = (checkout.path / "manifests/deliverables.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[2] for row in rows] == ["superseded", "current"]
    assert checkout.planned() == [], "the flag is no parameter: the next run without it has nothing to do"


def test_results_of_another_configuration_are_not_frozen_even_if_snakemake_forgot_them(clean, tmp_path) -> None:
    """Without its notes in .snakemake it takes for current whatever lies in results/."""
    checkout = clean.copy(tmp_path / "forgotten")
    shutil.rmtree(checkout.path / ".snakemake")
    checkout.edit(TINY, "init: baseline, opts: {SOLVER.MAX_ITER: 44", "init: baseline, opts: {SOLVER.MAX_ITER: 46")
    (checkout.path / "results/tiny/bundle/SHA256SUMS").unlink()
    done = checkout.run("results/tiny/bundle/SHA256SUMS")
    assert done.returncode == 1
    assert "Error: results/tiny/train/warmstart/seed0: was made by another configuration" in done.stdout
