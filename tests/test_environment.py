"""The environment: its locks, what is checked before the set-up, and the set-up script."""

import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
GB = 10**9


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of requirements/, which are no package: loaded as the script loads them."""
    sys.path.insert(0, str(ROOT / "requirements"))
    try:
        yield SimpleNamespace(checks=load("checks"), install=load("install"))
    finally:
        sys.path.remove(str(ROOT / "requirements"))
        for name in ("checks", "install"):
            sys.modules.pop(name, None)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "requirements" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    """`{name: version}` of the lock."""
    return pins_of("lock")


# Groups of pyproject.toml whose versions another lock has.
APART = {
    "attest": "attest",
    "mmdet": "mmdet",
    **dict.fromkeys(("diffusers", "export", "mlflow", "wandb", "docs", "notebook", "browser"), "extras"),
}


def pins_of(name: str) -> dict[str, str]:
    """`{name: version}` of a file of pins."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    if name == "mmdet":  # the one that is built here has a file of its own
        text += (ROOT / "requirements" / "mmcv.txt").read_text("utf-8")
    return dict(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==(\S+)", text))


class TestLocks:
    @pytest.mark.parametrize(
        "name", ["lock.txt", "detectron2.txt", "attest.txt", "extras.txt", "mmdet.txt", "mmcv.txt"]
    )
    def test_every_requirement_is_pinned_with_a_hash_and_without_address(self, name: str) -> None:
        text = (ROOT / "requirements" / name).read_text("utf-8")
        code = re.sub(r"(?m)#.*$", "", text)
        logical = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
        one = r"[a-zA-Z0-9._-]+==[a-zA-Z0-9._+-]+(\s+--hash=sha256:[0-9a-f]{64})+\s*"
        assert logical and [line for line in logical if not re.fullmatch(one, line)] == []
        assert "://" not in text

    def test_inputs_are_all_locked(self, lock: dict[str, str]) -> None:
        text = (ROOT / "requirements" / "lock.in").read_text("utf-8")
        wanted = [re.match(r"([a-z0-9-]+)(?:==(\S+))?", line) for line in text.splitlines()]
        pairs = [match.groups() for match in wanted if match]
        assert len(pairs) > 30
        assert {name: lock.get(name) for name, version in pairs if version} == dict(p for p in pairs if p[1])
        assert {name for name, _ in pairs} <= set(lock)

    def test_versions_that_detectron2_and_the_recorded_numbers_rest_on(self, lock: dict[str, str]) -> None:
        assert (lock["torch"], lock["torchvision"], lock["snakemake"]) == ("2.12.1", "0.27.1", "9.27.1")
        assert int(lock["setuptools"].split(".")[0]) < 81  # detectron2.model_zoo imports pkg_resources

    def test_the_project_asks_for_nothing_that_the_lock_does_not_fit(self, lock: dict[str, str]) -> None:
        import tomllib

        from packaging.requirements import Requirement

        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        groups = project["optional-dependencies"]
        asked = [
            *project["dependencies"],
            *(r for name in groups if name not in APART for r in groups[name]),
        ]
        for requirement in map(Requirement, asked):
            assert requirement.specifier.contains(lock[requirement.name]), str(requirement)

    @pytest.mark.parametrize("group", sorted(APART))
    def test_a_group_apart_fits_its_own_lock(self, group: str) -> None:
        import tomllib

        from packaging.requirements import Requirement

        asked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"][group]
        pins = pins_of(APART[group])
        for requirement in map(Requirement, asked):
            assert requirement.specifier.contains(pins[requirement.name.lower()]), str(requirement)

    def test_the_validator_of_crates_is_there(self) -> None:
        assert "roc-validator" in pins_of("attest")

    def test_the_extras_change_no_version_of_the_lock(self, lock: dict[str, str]) -> None:
        extras = pins_of("extras")
        both = set(extras) & set(lock)
        assert "jinja2" in both and {name: extras[name] for name in both} == {name: lock[name] for name in both}

    def test_mmdet_changes_no_version_of_the_lock_or_of_the_extras(self, lock: dict[str, str]) -> None:
        pins, before = pins_of("mmdet"), pins_of("extras") | lock
        both = set(pins) & set(before)
        assert {"numpy", "matplotlib"} <= both and {name: pins[name] for name in both} == {n: before[n] for n in both}
        assert "opencv-python-headless" in pins and "opencv-python" not in pins

    def test_conda_has_the_versions_of_the_lock(self, lock: dict[str, str]) -> None:
        listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
        names = {"snakemake-minimal": "snakemake", "fvcore": "fvcore"}
        pins = dict(item.split("=") for item in listed if isinstance(item, str) and item.count("=") == 1)
        assert pins.pop("python") == "3.11" and pins.pop("detectron2") == "0.6"
        for name, version in pins.items():
            assert lock[names.get(name, name)].startswith(version), name

    def test_the_optional_and_hooked_files_fetch_nothing(self) -> None:
        hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
        assert [repo["repo"] for repo in hooks] == ["local"]


class TestChecks:
    @pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 4), (3, 13, 99)])
    def test_python_that_fits(self, scripts: SimpleNamespace, version: tuple[int, ...]) -> None:
        scripts.checks.check_python(version)

    @pytest.mark.parametrize("version", [(3, 7, 16), (3, 10, 13), (3, 14, 0), (4, 0, 0)])
    def test_python_that_does_not(self, scripts: SimpleNamespace, version: tuple[int, ...]) -> None:
        with pytest.raises(scripts.checks.SetupError) as caught:
            scripts.checks.check_python(version)
        assert f"Python {'.'.join(map(str, version))} " in str(caught.value)
        assert "3.11 to 3.13" in str(caught.value)
        assert "make setup PYTHON=/path/to/python3" in str(caught.value)

    def test_platform(self, scripts: SimpleNamespace) -> None:
        scripts.checks.check_platform("linux", has_ensurepip=True)
        with pytest.raises(scripts.checks.SetupError, match=r"platform darwin: .* is for Linux; use .*environment.yml"):
            scripts.checks.check_platform("darwin", has_ensurepip=True)
        with pytest.raises(scripts.checks.SetupError, match="no `ensurepip`.*apt-get install python3-venv"):
            scripts.checks.check_platform("linux", has_ensurepip=False)

    def test_disk(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        def usage(free: float):
            return lambda _path: SimpleNamespace(free=free)

        scripts.checks.check_disk(tmp_path, tmp_path, usage(8 * GB))
        with pytest.raises(scripts.checks.SetupError) as caught:
            scripts.checks.check_disk(tmp_path, tmp_path, usage(7.94 * GB))
        assert str(caught.value) == (
            f"{tmp_path}: 7.9 GB free, but the set-up needs about 8 GB there; free some space or clone to a "
            "larger disk, then run `make setup` again"
        )

    def test_small_temporary_directory_on_another_disk(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        other = Path("/dev/shm")
        if not other.is_dir() or os.stat(other).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("needs /dev/shm as a file system of its own")
        sizes = {str(tmp_path): 100 * GB, str(other): GB}
        with pytest.raises(scripts.checks.SetupError, match="/dev/shm: 1.0 GB free.*about 4 GB.*set TMPDIR"):
            scripts.checks.check_disk(tmp_path, other, lambda path: SimpleNamespace(free=sizes[path]))


class TestPipFaults:
    """`explain` on what this environment's pip really prints, and on outputs that cannot be provoked here."""

    def pip(self, *arguments: str) -> str:
        isolated = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        isolated.update(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=isolated, timeout=120, check=False)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def test_registry_not_reachable(self, scripts: SimpleNamespace) -> None:
        # Port 9 of this machine: nothing listens there, the connection is refused at once.
        output = self.pip("--retries=1", "--index-url=http://127.0.0.1:9/simple", "a-package-of-nobody==1.0")
        told = scripts.checks.explain(output)
        assert told.startswith("the package registry cannot be reached; check the network, the proxy")
        assert "pip config list" in told and "PIP_FIND_LINKS" in told
        assert "pip: ERROR: No matching distribution found for a-package-of-nobody==1.0" in told

    def test_hash_mismatch(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        wheel = tmp_path / "c2odemo-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("c2odemo.py", "")
            archive.writestr("c2odemo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: c2odemo\nVersion: 1.0\n")
            archive.writestr(
                "c2odemo-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr("c2odemo-1.0.dist-info/RECORD", "")
        wrong = "0" * 64
        part = tmp_path / "part.txt"
        part.write_text(f"c2odemo==1.0 --hash=sha256:{wrong}\n")
        output = self.pip("--no-index", f"--find-links={tmp_path}", "--require-hashes", "-r", str(part))
        told = scripts.checks.explain(output)
        assert told.startswith("a downloaded package is not the one recorded in requirements/ (hash mismatch)")
        assert "pip cache purge" in told and "do not change the hash to fit" in told
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in told and wrong in told

    def test_disk_full(self, scripts: SimpleNamespace) -> None:
        told = scripts.checks.explain(
            "Installing collected packages: torch\n"
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
        )
        assert told.startswith("the disk (or the quota) is full; free about 8 GB")
        assert "goes on where it stopped" in told

    def test_version_not_there(self, scripts: SimpleNamespace) -> None:
        told = scripts.checks.explain("ERROR: No matching distribution found for torch==2.12.1\n")
        assert told.startswith("the package index in use does not have this version")

    def test_unknown_fault_is_quoted(self, scripts: SimpleNamespace) -> None:
        told = scripts.checks.explain("Collecting a\nERROR: the moon is full\n")
        assert told == "pip failed for a reason that is not known here; its last words:\n  pip: ERROR: the moon is full"


class TestInstaller:
    def test_lock_is_cut_into_parts_without_loss(self, scripts: SimpleNamespace, lock: dict[str, str]) -> None:
        text = (ROOT / "requirements" / "lock.txt").read_text("utf-8")
        builder, small, large = scripts.install.lock_steps(text)
        names = [[re.match(r"[a-z0-9._-]+", block).group() for block in part] for part in (builder, small, large)]
        assert names[0] == ["setuptools"]
        assert {"torch", "torchvision", "triton"} <= set(names[2]) and "snakemake" in names[1]
        assert sorted(sum(names, [])) == sorted(lock)
        assert sum(part.count("--hash=") for part in builder + small + large) == text.count("--hash=")

    def test_half_installed_packages_are_installed_again(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        for name, files in {
            "whole-1.dist-info": ["METADATA", "RECORD"],
            "cut-2.dist-info": ["METADATA"],
        }.items():
            (tmp_path / name).mkdir()
            for file in files:
                (tmp_path / name / file).touch()
        assert scripts.install.drop_half_installed(tmp_path) == ["cut-2.dist-info"]
        assert [path.name for path in tmp_path.iterdir()] == ["whole-1.dist-info"]

    def test_scripts_follow_a_moved_environment(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        (tmp_path / "c2o").write_text("#!/old/.venv/bin/python\nprint(1)\n")
        (tmp_path / "c2o").chmod(0o755)
        (tmp_path / "activate").write_text('VIRTUAL_ENV="/old/.venv"\n')
        (tmp_path / "binary").write_bytes(b"\x7fELF /old/.venv")
        (tmp_path / "other").write_text("#!/bin/sh\n")
        (tmp_path / "python").symlink_to("/bin/sh")
        assert scripts.install.relocate_scripts(tmp_path, "/old/.venv", "/new place/.venv") == 2
        assert (tmp_path / "c2o").read_text() == "#!/new place/.venv/bin/python\nprint(1)\n"
        assert os.access(tmp_path / "c2o", os.X_OK)
        assert (tmp_path / "activate").read_text() == 'VIRTUAL_ENV="/new place/.venv"\n'
        assert (tmp_path / "binary").read_bytes() == b"\x7fELF /old/.venv"

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (
                "  Downloading torch-2.12.1-cp311-cp311-x.whl (532.2 MB)\n",
                ("downloading torch 2.12.1 (532.2 MB)", True),
            ),
            (
                "  Downloading rich-15.0.0-py3-none-any.whl (310 kB)\n",
                ("downloading rich 15.0.0 (310 kB)", False),
            ),
            ("Collecting attrs==26.1.0 (from -r x.txt (line 1))\n", ("attrs", False)),
            ("Installing collected packages: a, b, c\n", ("writing 3 packages to disk", False)),
            ("  Preparing metadata (pyproject.toml): started\n", ("", False)),
        ],
    )
    def test_what_the_screen_shows(self, scripts: SimpleNamespace, line: str, expected: tuple[str, bool]) -> None:
        assert scripts.install.pip_progress(line) == expected

    def test_screen_without_a_terminal_shows_steps_and_large_downloads(self, scripts: SimpleNamespace) -> None:
        stream = io.StringIO()
        screen = scripts.install.Screen(2, stream)
        screen.step("first")
        screen.now("small", important=False)
        screen.now("large", important=True)
        screen.done("there")
        assert stream.getvalue() == "[1/2] first\n      large\n      there (0 s)\n"

    def test_second_set_up_waits_for_the_first(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        lock_path = tmp_path / "lock"
        first = scripts.install.hold_lock(lock_path, lambda text: pytest.fail(text))
        program = (
            "import install, pathlib, sys\n"
            "install.hold_lock(pathlib.Path(sys.argv[1]), lambda text: print(text, flush=True))\n"
            "print('mine', flush=True)\n"
        )
        environ = dict(os.environ, PYTHONPATH=str(ROOT / "requirements"))
        command = [sys.executable, "-c", program, str(lock_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as second:
            assert second.stdout is not None
            waiting = second.stdout.readline()
            assert waiting == (
                f"another set-up of this directory is running (process {os.getpid()}); waiting for it to end\n"
            )
            os.close(first)
            assert second.stdout.readline() == "mine\n"
            assert second.wait(timeout=10) == 0

    def test_stamp_is_what_the_makefile_computes(self, scripts: SimpleNamespace) -> None:
        shell = f"pwd -P; sha256sum {' '.join(scripts.install.STAMPED)}"
        done = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True)
        assert scripts.install.stamp_text(ROOT) == done.stdout
        listed = re.search(r"(?m)^STAMPED := (.*)$", (ROOT / "Makefile").read_text("utf-8"))
        assert listed is not None and tuple(listed.group(1).split()) == scripts.install.STAMPED
