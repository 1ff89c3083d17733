"""The RO-Crate metadata of a bundle before the public validator (roc-validator, `make attest`), without a network."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

ATTEST = Path(sys.prefix, "attest", "bin")
PROFILE = "workflow-run-crate-0.5"
# Who ran it and where it is published is not in the evidence, so these stay open at level RECOMMENDED.
OPEN = {
    "process-run-crate-0.5_3.2",  # the workflow and C2O have no address
    "process-run-crate-0.5_5.1",
    "process-run-crate-0.5_8.6",  # no person or organisation as agent
    "ro-crate-1.1_22.2",  # none as author
    "ro-crate-1.1_22.3",  # none as publisher
}


def call(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The validator's cache with the one document that it would fetch."""
    if not (ATTEST / "rocrate-validator").is_file():
        pytest.skip("the programs of `make attest` are not installed")
    path = str(tmp_path_factory.mktemp("cache") / "http")
    context = str(resources.files("rocrate") / "data" / "ro-crate.jsonld")
    script = str(Path(__file__).with_name("prime_rocrate_cache.py"))
    done = call(str(ATTEST / "python"), script, path, context)
    assert done.returncode == 0, done.stderr
    return path


def validate(bundle: Path, cache: str, severity: str, report: Path) -> dict[str, Any]:
    command = [str(ATTEST / "rocrate-validator"), "-y", "validate", "--offline", "--cache-path", cache, "--no-paging"]
    command += ["-v", "-p", PROFILE, "-l", severity, "-f", "json", "-o", str(report), str(bundle)]
    done = call(*command)
    assert report.is_file(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_it_holds_and_only_what_names_people_and_addresses_is_left(bundle: Path, cache: str, tmp_path: Path) -> None:
    report = validate(bundle, cache, "required", tmp_path / "required.json")
    assert report["passed"] and report["issues"] == []
    report = validate(bundle, cache, "recommended", tmp_path / "recommended.json")
    assert {issue["check"]["identifier"] for issue in report["issues"]} == OPEN


def test_the_validator_sees_what_is_wrong(bundle: Path, cache: str, tmp_path: Path) -> None:
    path = bundle / "ro-crate-metadata.json"
    document = json.loads(path.read_text())
    for entity in document["@graph"]:
        if entity["@id"] == "suite.yaml":
            entity["@type"] = "File"
    path.write_text(json.dumps(document))
    report = validate(bundle, cache, "required", tmp_path / "report.json")
    assert not report["passed"] and any("Main Workflow" in issue["message"] for issue in report["issues"])
