"""What a user types: the Makefile, the `c2o` command's start, and the script of continuous integration."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from tests.run import children_s  # of a core: unlike the wall clock's, they do not grow when others work too

ROOT = Path(__file__).resolve().parent.parent
MADE_FROM = ("Makefile", "pyproject.toml", "requirements")
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a pytest that runs nothing loads no plugins: 0.3 s, not 2 s
STAMPED = ("requirements/lock.txt", "requirements/detectron2.txt", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files of the set-up, with an environment that counts as ready and is this Python."""
    root = tmp_path / "a checkout"
    root.mkdir()
    for name in MADE_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    (root / ".venv" / "bin").mkdir(parents=True)
    python = root / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return root


def stamp(root: Path) -> None:
    """Mark the environment of `root` as ready: its place, then the digests of what it is made from."""
    digests = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in STAMPED]
    (root / ".venv" / "c2o.stamp").write_text(f"{root.resolve()}\n{''.join(digests)}")
    tools, lock = root / ".venv" / "attest", root / "requirements" / "attest.txt"
    tools.mkdir()
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    (tools / "c2o.stamp").write_text(f"{tools.resolve()}\n{digest}  requirements/attest.txt\n")
    for name, files in {"extras": ("extras.txt",), "mmdet": ("mmdet.txt", "mmcv.txt")}.items():
        names = [f"requirements/{file}" for file in ("lock.txt", *files)]
        digests = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        (root / ".venv" / f"{name}.stamp").write_text(f"{root.resolve()}\n{''.join(digests)}")


def make(root: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    executable = shutil.which("make")
    if executable is None:
        pytest.skip("make is not installed")
    command = [executable, "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, env=inherited | environ, timeout=120, check=False
    )


class TestMakefile:
    def test_a_ready_environment_takes_no_time(self, checkout: Path) -> None:
        stamp(checkout)
        seconds = []
        for _ in range(5):
            start = children_s()
            done = make(checkout, "setup")
            seconds.append(children_s() - start)
            assert (done.returncode, done.stdout) == (0, "environment ready in .venv (nothing to do)\n")
        assert min(seconds) < 0.1

    @pytest.mark.parametrize("changed", ["requirements/lock.txt", "requirements/detectron2.txt", "pyproject.toml"])
    def test_a_changed_lock_is_noticed(self, checkout: Path, changed: str) -> None:
        stamp(checkout)
        with (checkout / changed).open("a") as file:
            file.write("# changed\n")
        (checkout / "requirements" / "install.py").write_text("print('set up again')\n")
        assert make(checkout, "setup").stdout == "set up again\n"

    def test_no_python(self, checkout: Path, tmp_path: Path) -> None:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in ("sh", "cat", "sha256sum", "env"):
            (tools / name).symlink_to(shutil.which(name) or name)
        done = make(checkout, "setup", PATH=str(tools))
        assert done.returncode != 0
        told = "setup: no Python found (tried python3.11 python3 python3.12 python3.13); install Python 3.11"
        assert told in done.stderr
        assert "make setup PYTHON=/path/to/python3" in done.stderr

    def test_failed_set_up_stops_make(self, checkout: Path) -> None:
        checks = checkout / "requirements" / "checks.py"
        limits = "OLDEST, NEWEST = (3, 11), (3, 13)"
        assert limits in checks.read_text("utf-8")
        checks.write_text(checks.read_text("utf-8").replace(limits, "OLDEST, NEWEST = (9, 0), (9, 9)"))
        done = make(checkout, "doctor", f"PYTHON={sys.executable}")
        assert done.returncode != 0
        assert "cannot be used: requirements/lock.txt holds packages for Python 9.0 to 9.9" in done.stderr
        assert "c2o_evidence.cli" not in done.stdout

    def test_no_collected_test_is_a_failure(self, checkout: Path) -> None:
        stamp(checkout)
        (checkout / "tests").mkdir()
        shutil.copy(ROOT / "tests" / "run.py", checkout / "tests")
        done = make(checkout, "test", **ALONE)
        assert done.returncode != 0
        assert "no tests ran" in done.stdout
        assert not (checkout / ".venv/attest/bin").exists(), "its stamp is right: nothing is installed anew"

    def test_clean_asks_first_and_keeps_deliverables(self, checkout: Path) -> None:
        for name in ("data", "results", "deliverables"):
            (checkout / name).mkdir()
            (checkout / name / "file").write_text("x")
        listed = make(checkout, "clean")
        assert listed.stdout.startswith("would remove:\n") and "CONFIRM=1" in listed.stdout
        assert (checkout / "results" / "file").exists()
        assert make(checkout, "clean", "CONFIRM=1").stdout == "removing: data results\n"
        left = {path.name for path in checkout.iterdir()}
        assert left == {*MADE_FROM, "deliverables", ".venv"}
        assert make(checkout, "clean").stdout == "nothing to remove\n"

    def test_help_lists_the_targets_and_suites(self, checkout: Path) -> None:
        (checkout / "configs" / "suites").mkdir(parents=True)
        (checkout / "configs" / "suites" / "mine.yaml").touch()
        told = make(checkout).stdout
        for target in ("setup", "mmdet", "test", "test-mmdet", "check", "verify", "doctor", "clean", "SUITE"):
            assert re.search(rf"(?m)^  {target}\s+\S", told), target
        assert "suites: mine\n" in told

    def test_the_pins_are_those_of_the_model(self) -> None:
        from c2o_model.determinism import pinned_env

        exported = dict(re.findall(r"(?m)^export (\w+) := (\S+)$", (ROOT / "Makefile").read_text("utf-8")))
        assert exported and exported.items() <= pinned_env().items()


class TestCommand:
    def test_help_starts_at_once(self) -> None:
        seconds = []
        for _ in range(5):
            start = children_s()
            done = subprocess.run(
                [sys.executable, "-m", "c2o_evidence.cli", "--help"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds.append(children_s() - start)
            assert done.returncode == 0 and "verify" in done.stdout
        assert min(seconds) < 0.3

    def test_the_command_loads_nothing_heavy(self) -> None:
        program = "import sys, json, c2o_evidence.cli; print(json.dumps(sorted(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        heavy = {
            "torch",
            "detectron2",
            "numpy",
            "pandas",
            "scipy",
            "matplotlib",
            "pycocotools",
            "jsonschema",
            "rich",
        }
        assert heavy.isdisjoint(json.loads(done.stdout))


class TestContinuousIntegration:
    @pytest.fixture
    def ran(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("tests_ran", ROOT / ".ci" / "tests_ran.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def results(self, path: Path, cases: dict[str, str | None]) -> Path:
        """A JUnit file: test name -> reason of its skip, or None where it passed."""
        lines = []
        for name, reason in cases.items():
            classname, test = name.rsplit(".", 1)
            inner = "" if reason is None else f'<skipped message="{reason}"/>'
            lines.append(f'<testcase classname="{classname}" name="{test}">{inner}</testcase>')
        path.write_text(f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>")
        return path

    def test_skips_and_missing_parts_are_found(
        self, ran: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        passed = dict.fromkeys([f"{part}.test_a.test_b" for part in ran.MUST_PASS])
        file = tmp_path / "tests.xml"
        assert ran.faults(self.results(file, passed)) == []
        assert ran.faults(self.results(file, passed | {"tests.x.test_gpu": "needs CUDA"})) == []
        assert ran.faults(self.results(file, passed | {"tests.x.test_y": "too slow"})) == [
            "tests.x.test_y: skipped, but it must run: too slow"
        ]
        no_slurm = {"tests.slurm.test_z": "SLURM is not installed (slurmd not found)"}
        monkeypatch.delenv("C2O_REQUIRE_SLURM", raising=False)
        assert ran.faults(self.results(file, passed | no_slurm)) == []
        monkeypatch.setenv("C2O_REQUIRE_SLURM", "1")
        assert ran.faults(self.results(file, passed | no_slurm)) == [
            "tests.slurm.test_z: skipped, but it must run: SLURM is not installed (slurmd not found)"
        ]
        no_browser = {"tests.browser.test_z": "browser tests: no chromium here"}
        monkeypatch.delenv("C2O_REQUIRE_BROWSER", raising=False)
        assert ran.faults(self.results(file, passed | no_browser)) == []
        monkeypatch.setenv("C2O_REQUIRE_BROWSER", "1")
        assert ran.faults(self.results(file, passed | no_browser)) == [
            "tests.browser.test_z: skipped, but it must run: browser tests: no chromium here"
        ]
        del passed["tests.workflow.test_a.test_b"]
        assert ran.faults(self.results(file, passed)) == ["tests.workflow: no test passed"]
        part = {"tests.workflow.test_a.test_b": None}
        other = self.results(tmp_path / "other.xml", part)
        assert ran.faults(self.results(file, passed), other) == []
        assert ran.faults(self.results(file, {})) == [f"{file}: no test ran"]
        assert ran.faults(other, file) == [f"{file}: no test ran"]

    @pytest.fixture
    def run_tests(self, tmp_path: Path) -> list[str]:
        """The command that runs all tests below `tmp_path`, with two parts: those of SLURM and the others."""
        (tmp_path / "tests" / "slurm").mkdir(parents=True)
        shutil.copy(ROOT / "tests" / "run.py", tmp_path / "tests")
        program = "import sys, run; run.PARTS = {'slurm': ('tests/slurm',), 'others': ()}; sys.exit(run.main([]))"
        return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'tests')!r}); {program}"]

    @pytest.mark.parametrize("fails", ["none", "tests/slurm/test_b.py", "tests/test_a.py"])
    def test_all_parts_of_the_tests_run_and_count(self, tmp_path: Path, run_tests: list[str], fails: str) -> None:
        for name in ("tests/slurm/test_b.py", "tests/test_a.py"):
            (tmp_path / name).write_text(f"def test_it():\n    assert {name != fails}\n")
        done = subprocess.run(run_tests, capture_output=True, text=True, check=False, env=os.environ | ALONE)
        assert done.returncode == (fails != "none"), done.stdout + done.stderr
        found = [
            (case.get("classname"), case.find("failure") is not None)
            for name in ("tests-others.xml", "tests-slurm.xml")
            for case in ElementTree.parse(tmp_path / "logs" / name).iter("testcase")
        ]
        assert found == [("tests.test_a", fails == "tests/test_a.py"), ("tests.slurm.test_b", "slurm" in fails)]
        assert done.stdout.count("1 passed") + done.stdout.count("1 failed") == 2
        assert len(re.findall(r"^(?:slurm|others): (?:passed|FAILED)", done.stdout, re.MULTILINE)) == 2

    @pytest.mark.parametrize("lacks", ["tests/slurm/test_b.py", "tests/test_a.py"])
    def test_a_part_without_tests_is_a_failure(self, tmp_path: Path, run_tests: list[str], lacks: str) -> None:
        (kept,) = {"tests/slurm/test_b.py", "tests/test_a.py"} - {lacks}
        (tmp_path / kept).write_text("def test_it():\n    pass\n")
        done = subprocess.run(run_tests, capture_output=True, text=True, check=False, env=os.environ | ALONE)
        assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
        assert "no tests ran" in done.stdout and "FAILED (status 5)" in done.stdout

    def test_an_interrupt_reaches_every_part_and_is_waited_for(self, tmp_path: Path, run_tests: list[str]) -> None:
        test = """
import pathlib, time
def test_it():
    place = pathlib.Path(__file__)
    try:
        place.with_suffix(".began").touch()
        time.sleep(60)
    finally:
        time.sleep(0.2)
        place.with_suffix(".cleaned").touch()
"""
        files = [tmp_path / "tests/slurm/test_b.py", tmp_path / "tests/test_a.py"]
        for file in files:
            file.write_text(test)
        with (tmp_path / "said").open("wb") as said:
            running = subprocess.Popen(run_tests, stdout=said, stderr=subprocess.STDOUT, env=os.environ | ALONE)
        until = time.monotonic() + 60
        while not all(file.with_suffix(".began").exists() for file in files):
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert all(file.with_suffix(".cleaned").exists() for file in files)

    def test_each_test_file_belongs_to_one_part(self) -> None:
        spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tests" / "run.py")
        assert spec is not None and spec.loader is not None
        run = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(run)
        named = [ROOT / path for paths in run.PARTS.values() for path in paths]
        assert [path for path in named if not path.exists()] == []
        for file in (ROOT / "tests").rglob("test_*.py"):
            assert sum(file == path or path in file.parents for path in named) <= 1, file
        alone = run.arguments_of(run.PARTS)
        assert set(alone.pop("others")) == {f"--ignore={path.relative_to(ROOT)}" for path in named}
        told = [path for paths in alone.values() for path in paths]
        assert told == [path.relative_to(ROOT).as_posix() for path in named]

    def test_the_tests_of_mmdetection_run_only_by_name(self, tmp_path: Path) -> None:
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        (tmp_path / "tests" / "mmdet").mkdir(parents=True)
        for name in ("tests/mmdet/test_a.py", "tests/test_b.py"):
            (tmp_path / name).write_text("def test_it():\n    pass\n")

        def collected(*arguments: str) -> set[str]:
            command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | ALONE, check=True
            )
            return {line for line in done.stdout.splitlines() if "::" in line}

        assert collected() == {"tests/test_b.py::test_it"}
        assert collected("tests/mmdet") == {"tests/mmdet/test_a.py::test_it"}

    def test_the_script_runs_what_a_developer_types(self) -> None:
        text = (ROOT / ".ci" / "run").read_text("utf-8")
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        assert "set -euo pipefail" in text
        commands = [line.strip() for line in text.splitlines() if re.match(r" *(make|\.venv|if|else|fi)\b", line)]
        commands = commands[commands.index("make setup") :]
        assert commands == [
            "make setup",
            "make check",
            "make test",
            "if .venv/bin/python requirements/mmcv_wheel.py --cached; then",
            "make test-mmdet",
            "else",
            "fi",
            ".venv/bin/python .ci/tests_ran.py logs/tests-*.xml",
        ]
