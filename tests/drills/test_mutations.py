"""The mutation drill: every way to bend a bundle is found, by its name, and nothing is found in one that nobody bent.

Each case edits a copy of a small whole bundle, hides the edit as far as its seal says, and asks the public `verify`.
The table in mutation_expected says what must be found, at which level, and where only an anchor outside can tell.
"""

import importlib.util
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import c2o_evidence
from c2o_evidence.freeze import freeze
from c2o_evidence.ledger import ledger_text, with_freeze
from c2o_evidence.verify import Report, verify
from tests.c2o_evidence.bundle.conftest import build, drawing_once
from tests.drills.mutation_cases import SEED, Case, all_cases
from tests.drills.mutation_expected import RULES, alone_must_find, check_findings, matches, rule_of
from tests.drills.mutation_files import KINDS
from tests.drills.mutation_seals import facts, files_of, seal
from tests.drills.sandbox import LINES

CASES = all_cases()


def load_alone() -> ModuleType:
    """templates/verify.py as a module; that it runs on bare Python is tested where bundles are."""
    spec = importlib.util.spec_from_file_location("alone", Path(c2o_evidence.__file__).parent / "templates/verify.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ALONE = load_alone()


class Drill:
    """The clean bundle and what its files hash to, its ledger, and the counts of the whole drill."""

    def __init__(self, root: Path) -> None:
        build(root)
        self.bundle = root / "results" / "toy" / "bundle"
        self.facts = facts(self.bundle, derived=True)
        self.ledger = root / "ledger.tsv"
        digest = verify(self.bundle).root_digest
        self.ledger.write_text(ledger_text(with_freeze([], "toy", digest, 100, 1, supersede=False)))
        self.found: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.clean = self.false_alarms = 0

    def summary(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.found.items()))
        tried = ", ".join(f"{how} {count}" for how, count in sorted(self.tried.items()))
        detected = self.tried.total() - self.tried["seen by an anchor alone"]
        return (
            f"mutations (seed {SEED}): tried {self.tried.total()}, detected {detected} ({tried}); findings: {kinds}; "
            f"clean copies checked {self.clean}, false alarms {self.false_alarms}"
        )


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory, record_testsuite_property: object) -> Iterator[Drill]:
    with drawing_once():
        drill = Drill(tmp_path_factory.mktemp("drill"))
        yield drill
    record_testsuite_property("mutations", drill.summary())  # type: ignore[operator]
    LINES.append(drill.summary())


@pytest.fixture
def copy(drill: Drill, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(drill.bundle, tmp_path / "toy"))
    shutil.rmtree(tmp_path)


def test_every_file_of_the_bundle_has_a_kind(drill: Drill) -> None:
    assert sorted(path for paths in KINDS.values() for path in paths) == sorted(files_of(drill.bundle))


def test_there_are_enough_cases_and_every_rule_is_used() -> None:
    assert len(CASES) >= 500
    used = {rule_of(case) for case in CASES}
    assert [rule for rule in RULES if rule not in used] == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_mutation(drill: Drill, copy: Path, case: Case) -> None:
    case.run(copy)
    seal(copy, case.seal, drill.facts)
    rule = rule_of(case)
    report = verify(copy, "files" if case.seal == "none" else "tables", jobs=1)
    check_findings(case, report)
    check_alone(case, copy, report)
    if case.seal != "none":
        by_ledger = verify(copy, "files", ledger=drill.ledger).findings
        assert ("stale", "SHA256SUMS") in {(finding.kind, finding.path) for finding in by_ledger}
    if rule.level == "files" and case.seal != "none":
        level_files = {(finding.kind, finding.path) for finding in verify(copy, jobs=1).findings}
        assert any(matches(expected, *pair, case) for expected in rule.find for pair in level_files)
    how = f"by level {rule.level}" if rule.find else "seen by an anchor alone"
    drill.tried["by a note" if rule.note.startswith("ran in") else how] += 1
    drill.found.update({finding.kind for finding in report.findings})


def check_alone(case: Case, bundle: Path, report: Report) -> None:
    """The bundle's own verifier, bare Python, finds what it claims to find."""
    check = ALONE.Check(str(bundle))
    ALONE.check_files(check)
    ALONE.check_tables(check)
    pairs = {(finding["kind"], finding["path"]) for finding in check.findings}
    if case.kind == "sums":  # what a cut-off last line means is not the same to both, that it is cut off is
        assert pairs
    elif case.seal == "none":
        assert {(finding.kind, finding.path) for finding in report.findings} <= pairs
    for expected in alone_must_find(case):
        assert any(matches(expected, *pair, case) for pair in pairs), f"verify.py: not found: {expected}: {pairs}"


# Nothing is found where nothing was done.


def untouched(drill: Drill, place: Path) -> None:
    drill.clean += 1
    findings = verify(place, "tables", jobs=1).findings
    drill.false_alarms += bool(findings)
    assert findings == []


@pytest.mark.parametrize("name", ["toy", "renamed", "with spaces", "Größe-数据", "-dash", "a" * 200, "percent%20"])
def test_no_false_alarm_in_a_copy(drill: Drill, tmp_path: Path, name: str) -> None:
    untouched(drill, Path(shutil.copytree(drill.bundle, tmp_path / name)))


def test_no_false_alarm_with_other_times_permissions_and_order(drill: Drill, tmp_path: Path) -> None:
    target = tmp_path / "toy"
    for number, (name, path) in enumerate(sorted(files_of(drill.bundle).items(), reverse=True)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(path.read_bytes())
        os.utime(target / name, (10**9 + number, 10**9 - number))
        (target / name).chmod((0o400, 0o444, 0o600, 0o755)[number % 4])
    untouched(drill, target)


def test_no_false_alarm_through_a_relative_path_or_a_linked_parent(
    drill: Drill, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    untouched(drill, Path("."))
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    untouched(drill, tmp_path / "elsewhere" / "toy")


def test_no_false_alarm_with_a_locale_and_a_time_zone_of_their_own(
    drill: Drill, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    time.tzset()
    untouched(drill, copy)
    monkeypatch.undo()
    time.tzset()


# The bundle as a whole.


def test_an_older_revision_is_found_by_the_ledger_alone(drill: Drill, tmp_path: Path) -> None:
    """What was frozen before is whole and consistent: only the ledger knows that it was superseded."""
    older, newer = tmp_path / "older", tmp_path / "newer"
    shutil.copytree(drill.bundle, older)
    shutil.copytree(drill.bundle, newer)
    case = next(case for case in CASES if (case.seal, case.change) == ("all", "suite-label"))
    case.run(newer)
    seal(newer, "all", drill.facts)
    frozen = tmp_path / "deliverables" / "toy"
    freeze(older, frozen)
    freeze(newer, frozen, allow_refreeze=True)
    assert verify(frozen, "tables", jobs=1).ok
    shutil.rmtree(frozen)
    shutil.copytree(older, frozen)
    (finding,) = verify(frozen, "tables", jobs=1).findings
    assert (finding.kind, finding.path) == ("stale", "SHA256SUMS")
    assert finding.message == "is an older freeze (revision 1 of 2)"
