"""`make mmdet`'s wheel of mmcv: its place in the cache, what counts as a wheel there, what a build shows and says.

No compiler runs: where a test builds, a program that writes a file stands in for pip.
"""

import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable  # which tests replace
NAME = "mmcv-2.1.0-cp311-cp311-linux_x86_64.whl"


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of requirements/, which are no package."""
    names = ("checks", "install", "mmcv_wheel")
    sys.path.insert(0, str(ROOT / "requirements"))
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in names})
    finally:
        sys.path.remove(str(ROOT / "requirements"))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "made" / NAME
    path.parent.mkdir()
    path.write_bytes(b"operators")
    return path


class TestPlace:
    def test_all_that_the_wheel_depends_on_is_in_its_folder(self, scripts: SimpleNamespace) -> None:
        wanted = scripts.mmcv_wheel.wanted(ROOT)
        torch = __import__("torch").__version__
        assert wanted.version == "2.1.0" and wanted.sdist_sha256 in (ROOT / "requirements/mmcv.txt").read_text()
        assert wanted.torch.split("+")[0] == torch.split("+")[0]
        assert wanted.key.startswith(f"mmcv-2.1.0-cp3{sys.version_info[1]}-torch{torch.split('+')[0]}")
        assert wanted.key.endswith(f"linux_{os.uname().machine}-{wanted.sdist_sha256[:16]}")

    @given(st.data())
    def test_another_value_is_another_folder(self, scripts: SimpleNamespace, data: st.DataObject) -> None:
        first = scripts.mmcv_wheel.Wanted("2.1.0", "a" * 64, "cp311", "2.12.1", "linux_x86_64")
        field = data.draw(st.sampled_from(first._fields))
        value = data.draw(st.from_regex(r"[0-9a-f]{4,16}", fullmatch=True))
        assert first._replace(**{field: value}).key != first.key
        assert "/" not in first._replace(**{field: value}).key

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({"C2O_CACHE": "/big/c2o", "XDG_CACHE_HOME": "/x"}, "/big/c2o/wheels"),
            ({"XDG_CACHE_HOME": "/x"}, "/x/c2o/wheels"),
            ({"XDG_CACHE_HOME": "relative"}, "{home}/.cache/c2o/wheels"),
            ({}, "{home}/.cache/c2o/wheels"),
        ],
    )
    def test_the_cache(self, scripts: SimpleNamespace, environ: dict[str, str], expected: str) -> None:
        assert str(scripts.mmcv_wheel.wheels(environ)) == expected.format(home=Path.home())

    def test_a_lock_with_two_hashes_is_refused(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        (tmp_path / "requirements").mkdir()
        lines = f"mmcv==2.1.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
        (tmp_path / "requirements" / "mmcv.txt").write_text(lines)
        with pytest.raises(
            scripts.checks.SetupError, match="requirements/mmcv.txt: is not one pinned version with one"
        ):
            scripts.mmcv_wheel.wanted(tmp_path)


class TestCache:
    def test_what_is_kept_is_found_with_a_digest_that_sha256sum_checks(
        self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "cache" / "wheels" / "key"
        assert scripts.mmcv_wheel.cached(folder) is None
        kept = scripts.mmcv_wheel.keep(wheel, folder)
        assert kept == folder / NAME and scripts.mmcv_wheel.cached(folder) == kept
        assert kept.read_bytes() == b"operators" and wheel.exists()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        done = subprocess.run(
            ["sha256sum", "-c", f"{NAME}.sha256"], cwd=folder, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{NAME}: OK\n"
        assert [path.name for path in folder.parent.iterdir()] == ["key"]

    def test_a_damaged_one_is_refused(self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path) -> None:
        folder = tmp_path / "key"
        scripts.mmcv_wheel.keep(wheel, folder).write_bytes(b"operatorz")
        expected, found = (hashlib.sha256(content).hexdigest() for content in (b"operators", b"operatorz"))
        with pytest.raises(scripts.checks.SetupError) as caught:
            scripts.mmcv_wheel.cached(folder)
        assert str(caught.value) == (
            f"{folder}: {NAME} has changed: expected sha256 {expected}, found {found}; it is not used. Remove this "
            "folder, then run `make mmdet` to build it again"
        )

    @pytest.mark.parametrize("change", ["no digest", "no wheel", "two wheels", "empty"])
    def test_a_folder_that_is_not_one_wheel_and_its_digest_is_refused(
        self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path, change: str
    ) -> None:
        folder = tmp_path / "key"
        kept = scripts.mmcv_wheel.keep(wheel, folder)
        digest = folder / f"{NAME}.sha256"
        if change in ("no digest", "empty"):
            digest.unlink()
        if change in ("no wheel", "empty"):
            kept.unlink()
        if change == "two wheels":
            (folder / "other.whl").touch()
        with pytest.raises(scripts.checks.SetupError, match="instead of one wheel and its digest; it is not used"):
            scripts.mmcv_wheel.cached(folder)

    def test_what_a_killed_one_has_left_does_not_count_and_goes(
        self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path
    ) -> None:
        folder, left = tmp_path / "wheels" / "key", tmp_path / "wheels" / ".new-key-abc"
        other = tmp_path / "wheels" / ".new-another-abc"
        for path in (left, other):
            path.mkdir(parents=True)
            (path / NAME).write_bytes(b"oper")
        assert scripts.mmcv_wheel.cached(folder) is None
        scripts.mmcv_wheel.keep(wheel, folder)
        assert sorted(path.name for path in folder.parent.iterdir()) == [".new-another-abc", "key"]

    def test_a_full_disk_leaves_nothing(
        self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(source: str, target: str) -> None:
            (Path(target) / NAME).write_bytes(b"op")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(scripts.mmcv_wheel.shutil, "copy", full)
        with pytest.raises(OSError, match="No space left"):
            scripts.mmcv_wheel.keep(wheel, tmp_path / "wheels" / "key")
        assert list((tmp_path / "wheels").iterdir()) == []


class TestBuild:
    def screen(self, scripts: SimpleNamespace) -> tuple[SimpleNamespace, io.StringIO]:
        stream = io.StringIO()
        return scripts.install.Screen(1, stream), stream

    @pytest.fixture
    def pip(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
        """A Python whose `-m pip` is the given program, which has the arguments in `sys.argv`."""

        def make(program: str) -> Path:
            (tmp_path / "pip.py").write_text(textwrap.dedent(program))
            python = tmp_path / "python"
            python.write_text(f'#!/bin/sh\nshift 2\nexec "{PYTHON}" "{tmp_path}/pip.py" "$@"\n')
            python.chmod(0o755)
            monkeypatch.setattr(sys, "executable", str(python))
            return python

        return make

    BUILDS = """
        import os, pathlib, sys
        into = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--wheel-dir="))
        asked = {name: os.environ[name] for name in ("MMCV_WITH_OPS", "FORCE_CUDA", "MAX_JOBS")}
        print(sorted(asked.items()), flush=True)
        for number in range(1, 78):
            print(f"  [{number}/77] c++ -MMD -o x.o -c /t/ops/nms_{number}.cpp -o y.o", flush=True)
        pathlib.Path(into, "mmcv-2.1.0-cp311-cp311-linux_x86_64.whl").write_bytes(b"operators")
    """

    def test_it_is_built_once(
        self, scripts: SimpleNamespace, pip: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MAX_JOBS", "3")
        pip(self.BUILDS)
        (screen, shown), log = self.screen(scripts), io.StringIO()
        folder = tmp_path / "wheels" / "key"
        first = scripts.mmcv_wheel.provide(ROOT, folder, log, screen)
        assert "[('FORCE_CUDA', '0'), ('MAX_JOBS', '3'), ('MMCV_WITH_OPS', '1')]" in log.getvalue()
        assert "--no-deps --no-build-isolation --no-binary=mmcv" in log.getvalue()
        assert [line.split("]")[0] for line in shown.getvalue().splitlines()[1:-1]] == [
            f"      [{number}/77" for number in (10, 20, 30, 40, 50, 60, 70, 77)
        ]
        pip("raise SystemExit('built twice')")
        assert scripts.mmcv_wheel.provide(ROOT, folder, log, screen) == first == folder / NAME

    def test_one_that_fails_says_why_and_leaves_nothing(
        self, scripts: SimpleNamespace, pip: Callable[[str], Path], tmp_path: Path
    ) -> None:
        pip("print('a.cpp:3:1: error: no such type'); raise SystemExit(1)")
        screen, _ = self.screen(scripts)
        with pytest.raises(scripts.checks.SetupError) as caught:
            scripts.mmcv_wheel.provide(ROOT, tmp_path / "wheels" / "key", io.StringIO(), screen)
        assert str(caught.value) == (
            "mmcv does not compile here; the whole output is in logs/mmcv.log\n  a.cpp:3:1: error: no such type"
        )
        assert [path.name for path in (tmp_path / "wheels").iterdir()] == [".key.lock"]

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
    def test_one_that_is_stopped_is_built_again(
        self, scripts: SimpleNamespace, pip: Callable[[str], Path], tmp_path: Path, how: signal.Signals
    ) -> None:
        python = pip("import time; print('[1/77] c++ -c a.cpp', flush=True); time.sleep(1)")
        program = (
            "import io, pathlib, sys, install, mmcv_wheel\n"
            f"sys.executable = {str(python)!r}\n"
            "class Log(io.StringIO):\n"
            "    def write(self, text):\n"
            "        print(text, end='', flush=True)\n"
            f"folder = pathlib.Path({str(tmp_path / 'wheels' / 'key')!r})\n"
            f"mmcv_wheel.provide(pathlib.Path({str(ROOT)!r}), folder, Log(), install.Screen(1))\n"
        )
        environ = dict(os.environ, PYTHONPATH=str(ROOT / "requirements"), TMPDIR=str(tmp_path))
        with subprocess.Popen(
            [PYTHON, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        ) as running:
            assert running.stdout is not None
            while "[1/77]" not in running.stdout.readline():
                assert running.poll() is None
            running.send_signal(how)
        folder = tmp_path / "wheels" / "key"
        assert running.returncode == -how and scripts.mmcv_wheel.cached(folder) is None
        pip(self.BUILDS)
        screen, _ = self.screen(scripts)
        assert scripts.mmcv_wheel.provide(ROOT, folder, io.StringIO(), screen).read_bytes() == b"operators"

    def test_two_at_once_build_one(
        self, scripts: SimpleNamespace, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "wheels" / "key"
        folder.parent.mkdir()
        lock = scripts.install.hold_lock(folder.with_name(".key.lock"), pytest.fail, "another build of this wheel")
        program = (
            "import io, pathlib, mmcv_wheel\n"
            "mmcv_wheel.build = None  # calling it would fail\n"
            f"print(mmcv_wheel.provide(None, pathlib.Path({str(folder)!r}), io.StringIO(), None))\n"
        )
        environ = dict(os.environ, PYTHONPATH=str(ROOT / "requirements"))
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ
        ) as second:
            assert second.stdout is not None
            said = second.stdout.readline()
            assert said == f"another build of this wheel is running (process {os.getpid()}); waiting for it to end\n"
            time.sleep(0.05)
            scripts.mmcv_wheel.keep(wheel, folder)
            os.close(lock)
            assert second.stdout.readline() == f"{folder / NAME}\n" and second.wait(10) == 0

    def test_no_compiler_and_no_headers(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        with pytest.raises(scripts.checks.SetupError) as caught:
            scripts.mmcv_wheel.check_compiler({"PATH": str(tmp_path)})
        assert str(caught.value) == (
            "mmcv is compiled here, and there is no C++ compiler (c++); install one (Debian, Ubuntu: apt-get install "
            "g++) or name it: make mmdet CXX=/path/to/g++"
        )
        compiler = tmp_path / "mine++"
        compiler.touch(mode=0o755)
        environ = {"PATH": str(tmp_path), "CXX": "mine++ -O2"}
        with pytest.raises(
            scripts.checks.SetupError, match=r"Python\.h is missing; install .*apt-get install python3-dev"
        ):
            scripts.mmcv_wheel.check_compiler(environ, tmp_path)
        (tmp_path / "Python.h").touch()
        assert scripts.mmcv_wheel.check_compiler(environ, tmp_path) == str(compiler)

    @pytest.mark.parametrize(
        ("environ", "cores", "gb", "expected"),
        [({}, 2, 20, 2), ({}, 8, 5, 2), ({}, 8, 1, 1), ({}, 0, 9, 1), ({"MAX_JOBS": "7"}, 2, 1, 7)],
    )
    def test_jobs(self, scripts: SimpleNamespace, environ: dict[str, str], cores: int, gb: int, expected: int) -> None:
        assert scripts.mmcv_wheel.jobs(environ, cores, gb * 10**9) == expected

    @pytest.mark.parametrize("said", ["0", "two", "-1"])
    def test_impossible_jobs(self, scripts: SimpleNamespace, said: str) -> None:
        with pytest.raises(scripts.checks.SetupError, match=f"MAX_JOBS={said}: is not a whole number from 1 on"):
            scripts.mmcv_wheel.jobs({"MAX_JOBS": said}, 2, 10**10)

    def test_available_memory(self, scripts: SimpleNamespace, tmp_path: Path) -> None:
        (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:    4000 kB\n")
        assert scripts.mmcv_wheel.available_bytes(tmp_path / "meminfo") == 4_096_000
        assert scripts.mmcv_wheel.available_bytes(tmp_path / "none") == 2 * 10**9

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("  [7/77] c++ -MMD -c /t/mmcv/ops/csrc/nms.cpp -o /t/nms.o\n", ("[7/77] nms.cpp", False)),
            ("  [70/77] c++ -c -c /t/roi.cpp -o x\n", ("[70/77] roi.cpp", True)),
            ("  [77/77] c++ a.o b.o -shared -o _ext.so\n", ("[77/77] linking", True)),
            ("  creating build/lib\n", ("", False)),
        ],
    )
    def test_what_the_screen_shows(self, scripts: SimpleNamespace, line: str, expected: tuple[str, bool]) -> None:
        assert scripts.mmcv_wheel.progress(line) == expected

    def test_too_little_memory_and_no_network_are_told(self, scripts: SimpleNamespace) -> None:
        killed = "  c++: fatal error: Killed signal terminated program cc1plus\n"
        assert scripts.mmcv_wheel.last_words(killed).startswith(
            "the memory did not suffice; compile fewer files at once: make mmdet MAX_JOBS=1\n  c++: fatal error: Killed"
        )
        told = scripts.mmcv_wheel.last_words("ERROR: NewConnectionError to the index\n")
        assert told.startswith("the package registry cannot be reached") and "run `make mmdet` again" in told


def test_ci_is_told_whether_there_is_a_wheel(scripts: SimpleNamespace, wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels" / scripts.mmcv_wheel.wanted(ROOT).key
    command = [sys.executable, str(ROOT / "requirements" / "mmcv_wheel.py"), "--cached"]
    environ = dict(os.environ, C2O_CACHE=str(tmp_path))

    def asked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    none = asked()
    assert (none.returncode, none.stdout) == (1, f"no wheel of mmcv in {folder}; `make mmdet` builds it\n")
    scripts.mmcv_wheel.keep(wheel, folder)
    there = asked()
    assert (there.returncode, there.stdout, there.stderr) == (0, f"{folder / NAME}\n", "")
    (folder / NAME).write_bytes(b"")
    damaged = asked()
    assert damaged.returncode == 1 and f"mmdet: {folder}: {NAME} has changed: expected sha256 " in damaged.stderr


def test_a_cache_that_cannot_be_written_is_told(scripts: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    program = f"import pathlib, sys, mmcv_wheel; sys.exit(mmcv_wheel.main([], pathlib.Path({str(tmp_path)!r})))"
    environ = dict(os.environ, PYTHONPATH=str(ROOT / "requirements"), C2O_CACHE=str(tmp_path / "file"))
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mmdet: [Errno 20] Not a directory: ") and done.stderr.count("\n") == 1
    assert "make mmdet C2O_CACHE=/path" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_ends_the_compilers(tmp_path: Path, how: signal.Signals) -> None:
    """The program as `make mmdet` starts it, with a pip that would go on for a minute."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(
        "import os, time\nprint(f'[1/77] c++ {os.getpid()}.cpp', flush=True)\ntime.sleep(60)\n"
    )
    (tmp_path / "requirements").mkdir()
    for name in ("mmcv_wheel.py", "install.py", "checks.py", "mmcv.txt"):
        (tmp_path / "requirements" / name).write_bytes((ROOT / "requirements" / name).read_bytes())
    program = [sys.executable, str(tmp_path / "requirements" / "mmcv_wheel.py")]
    environ = dict(os.environ, C2O_CACHE=str(tmp_path / "cache"), TMPDIR=str(tmp_path), MAX_JOBS="1")
    running = subprocess.Popen(program, cwd=str(tmp_path), stderr=subprocess.PIPE, env=environ)
    log = tmp_path / "logs" / "mmcv.log"
    until = time.monotonic() + 30
    while not (log.is_file() and "[1/77]" in log.read_text()):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    started = int(log.read_text().split("c++ ")[1].split(".cpp")[0])
    running.send_signal(how)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and said.endswith(b"\nmmdet: interrupted; `make mmdet` begins again\n")
    with pytest.raises(ProcessLookupError):
        os.kill(started, 0)
    assert not list(tmp_path.glob("c2o-mmcv-*"))
