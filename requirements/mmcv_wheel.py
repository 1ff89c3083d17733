"""The wheel of mmcv, built once and kept outside of the checkout: what `make mmdet` installs. Standard library only.

mmcv's operators are compiled against one torch and one Python, for which no registry has a wheel. So it is built from
the source distribution of mmcv.txt, without CUDA, and kept in `$C2O_CACHE/wheels/KEY/` (default: `~/.cache/c2o`) beside
its digest, which is checked before it is used. KEY holds all that the wheel depends on. A folder appears there whole or
not at all: an interrupted build leaves nothing that counts. Two at once wait for each other.

    python requirements/mmcv_wheel.py            # build it where there is none, and install it
    python requirements/mmcv_wheel.py --cached   # the path of the one that is there; status 1 without one
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from checks import GB, SetupError, explain
from install import Screen, hold_lock, lock_blocks

BYTES_A_JOB = 2 * GB  # what compiling one file takes at most
SIDECAR = ".sha256"
LAST_WORDS = re.compile(r"\berror: |fatal error|Killed|out of memory|internal compiler error")


class Wanted(NamedTuple):
    """What the wheel depends on."""

    version: str
    sdist_sha256: str
    python: str
    torch: str
    platform: str

    @property
    def key(self) -> str:
        """The name of its folder in the cache."""
        of_place = f"{self.python}-torch{self.torch}-{self.platform}".replace("+", ".")
        return f"mmcv-{self.version}-{of_place}-{self.sdist_sha256[:16]}"


def wanted(root: Path) -> Wanted:
    """What this checkout, this Python and its torch ask for."""
    block = lock_blocks((root / "requirements" / "mmcv.txt").read_text(encoding="utf-8"))["mmcv"]
    found = re.fullmatch(r"mmcv==(\S+) \\\n\s*--hash=sha256:([0-9a-f]{64})\n*", block)
    if found is None:
        raise SetupError("requirements/mmcv.txt: is not one pinned version with one hash")
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise SetupError("mmcv is compiled against torch, which is not installed: run `make setup` first") from None
    abi = "cp{}{}".format(*sys.version_info[:2])
    return Wanted(found.group(1), found.group(2), abi, torch, re.sub(r"[-.]", "_", sysconfig.get_platform()))


def wheels(environ: Mapping[str, str]) -> Path:
    """The folder of all wheels that are kept."""
    if environ.get("C2O_CACHE"):
        return Path(environ["C2O_CACHE"]).absolute() / "wheels"
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "c2o" / "wheels"


def sha256(path: Path) -> str:
    """Digest of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def cached(folder: Path) -> Path | None:
    """The wheel of a folder of the cache, its digest checked; None where there is none.

    Raises SetupError for one that is not what was put there.
    """
    if not folder.is_dir():
        return None
    names = sorted(path.name for path in folder.iterdir())
    fault = f"holds {', '.join(names) or 'nothing'} instead of one wheel and its digest"
    if len(names) == 2 and names[1] == f"{names[0]}{SIDECAR}":
        wheel = folder / names[0]
        said, found = text_of(folder / names[1]), f"{sha256(wheel)}  {wheel.name}\n"
        if said == found:
            return wheel
        fault = f"{wheel.name} has changed: expected sha256 {said[:64]}, found {found[:64]}"
    raise SetupError(f"{folder}: {fault}; it is not used. Remove this folder, then run `make mmdet` to build it again")


def text_of(path: Path) -> str:
    """A small text file; empty where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def keep(wheel: Path, folder: Path) -> Path:
    """Put a wheel and its digest into the cache, as `folder`, all at once. Returns its path there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".new-{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):  # by one that was killed: who comes here holds the lock
        shutil.rmtree(str(left))
    staged = Path(tempfile.mkdtemp(prefix=prefix, dir=str(folder.parent)))
    try:
        copy = Path(shutil.copy(str(wheel), str(staged)))
        (staged / f"{copy.name}{SIDECAR}").write_text(f"{sha256(copy)}  {copy.name}\n", encoding="utf-8")
        for path in sorted(staged.iterdir()):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        staged.chmod(0o755)
        os.rename(str(staged), str(folder))
    except BaseException:
        shutil.rmtree(str(staged), ignore_errors=True)
        raise
    return folder / wheel.name


def jobs(environ: Mapping[str, str], cores: int, available: int) -> int:
    """Files compiled at once: MAX_JOBS, else one a core as far as `available` bytes of memory go."""
    said = environ.get("MAX_JOBS", "")
    if said and not (said.isdigit() and int(said)):
        raise SetupError(f"MAX_JOBS={said}: is not a whole number from 1 on")
    return int(said) if said else max(1, min(cores, available // BYTES_A_JOB))


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that can be had without swapping."""
    found = re.search(r"(?m)^MemAvailable:\s+(\d+) kB$", text_of(meminfo))
    return int(found.group(1)) * 1024 if found else BYTES_A_JOB


def check_compiler(environ: Mapping[str, str], headers: Path | None = None) -> str:
    """The C++ compiler, and the headers of this Python; SetupError where one is missing."""
    name = environ.get("CXX") or "c++"
    compiler = shutil.which(name.split()[0], path=environ.get("PATH"))
    if compiler is None:
        raise SetupError(
            f"mmcv is compiled here, and there is no C++ compiler ({name}); install one (Debian, Ubuntu: apt-get "
            "install g++) or name it: make mmdet CXX=/path/to/g++"
        )
    headers = headers or Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").is_file():
        raise SetupError(
            f"mmcv is compiled here, and {headers}/Python.h is missing; install the headers of this Python (Debian, "
            "Ubuntu: apt-get install python3-dev)"
        )
    return compiler


def progress(line: str) -> tuple[str, bool]:
    """`(text for the screen, important)` of a line of the build; no text where it tells nothing."""
    found = re.match(r"\s*\[(\d+)/(\d+)\] ", line)
    if not found:
        return "", False
    number, total = found.groups()
    files = re.findall(r"([^/\s]+\.(?:cpp|cc))\b", line)
    return f"[{number}/{total}] {files[-1] if files else 'linking'}", int(number) % 10 == 0 or number == total


def last_words(output: str) -> str:
    """What a failed build means, with its telling lines."""
    said = [line.strip() for line in output.splitlines() if LAST_WORDS.search(line)]
    if any(re.search(r"Killed|out of memory", line) for line in said):
        advice = "the memory did not suffice; compile fewer files at once: make mmdet MAX_JOBS=1"
    elif said:
        advice = "mmcv does not compile here; the whole output is in logs/mmcv.log"
    else:
        return explain(output).replace("`make setup`", "`make mmdet`")
    return "\n".join([advice, *(f"  {line[:300]}" for line in said[:4])])


def build(root: Path, into: Path, log: TextIO, screen: Screen, held: Iterable[int] = ()) -> Path:
    """Build the wheel into the directory `into`; its path. Takes a quarter of an hour with two jobs, or more."""
    check_compiler(os.environ)
    count = jobs(os.environ, len(os.sched_getaffinity(0)), available_bytes())
    screen.step(f"mmcv from source, {count} at once (a quarter of an hour with two; once, it is kept)")
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-input", "--verbose"]
    command += ["--no-deps", "--no-build-isolation", "--no-binary=mmcv", "--no-cache-dir", "--require-hashes"]
    command += [f"--wheel-dir={into}", f"--requirement={root / 'requirements' / 'mmcv.txt'}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # ninja is there
    environ = dict(os.environ, MMCV_WITH_OPS="1", FORCE_CUDA="0", MAX_JOBS=str(count), PATH=path)
    environ.pop("PYTHONPATH", None)
    code, output = run(command, environ, log, screen, held)
    made = sorted(into.glob("mmcv-*.whl"))
    if code or len(made) != 1:
        raise SetupError(last_words(output))
    screen.done(f"built, {made[0].stat().st_size / 1e6:.0f} MB")
    return made[0]


def run(
    command: list[str], environ: Mapping[str, str], log: TextIO, screen: Screen, held: Iterable[int]
) -> tuple[int, str]:
    """`(exit status, output)` of a command; its output also into the log, its progress onto the screen.

    It holds our lock too: if we are killed, other builds wait until the orphan is done. What else ends us reaches it
    and all that it has started, and is waited for.
    """
    log.write(f"\n$ {' '.join(command)}\n")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace", env=dict(environ), pass_fds=tuple(held), start_new_session=True,
    )  # fmt: skip
    lines = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            log.write(line)
            text, important = progress(line)
            if text:
                screen.now(text, important)
        return process.wait(), "".join(lines)
    except BaseException:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
        raise


def provide(root: Path, folder: Path, log: TextIO, screen: Screen) -> Path:
    """The wheel in the cache, built where it is not there yet; others that want it wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = hold_lock(
        folder.with_name(f".{folder.name}.lock"), lambda text: print(text, flush=True), "another build of this wheel"
    )
    try:
        wheel = cached(folder)
        if wheel is None:
            with tempfile.TemporaryDirectory(prefix="c2o-mmcv-") as place:
                wheel = keep(build(root, Path(place), log, screen, (lock,)), folder)
        return wheel
    finally:
        os.close(lock)


def install(wheel: Path, log: TextIO, screen: Screen) -> None:
    """Put the wheel, whose digest has just been checked, into this Python's environment."""
    screen.step(f"install {wheel.name}")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-deps"]
    code, output = run([*command, "--no-index", "--force-reinstall", str(wheel)], os.environ, log, screen, ())
    if code:
        raise SetupError(explain(output).replace("`make setup`", "`make mmdet`"))
    screen.done("there")


def stop(number: int, frame: object) -> None:
    """End as an interrupt does, so that no compiler stays behind."""
    raise KeyboardInterrupt


def main(arguments: list[str], root: Path | None = None) -> int:
    """Exit status 0: done; 1: not possible, says why, or with --cached: none is there; 130: interrupted."""
    root = (root or Path(__file__).parent.parent).resolve()
    started = time.monotonic()
    try:
        folder = wheels(os.environ) / wanted(root).key
        if arguments == ["--cached"]:
            wheel = cached(folder)
            print(wheel or f"no wheel of mmcv in {folder}; `make mmdet` builds it")
            return 0 if wheel else 1
        log_path = root / "logs" / "mmcv.log"
        log_path.parent.mkdir(exist_ok=True)
        with log_path.open("a", encoding="utf-8", buffering=1) as log:
            log.write(f"\n=== {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            screen = Screen(1 if cached(folder) else 2)
            install(provide(root, folder, log, screen), log, screen)
    except SetupError as error:
        sys.stdout.flush()
        sys.stderr.write(f"mmdet: {error}\n")
        return 1
    except OSError as error:
        sys.stdout.flush()
        sys.stderr.write(
            f"mmdet: {error}; name a place that can be written (make mmdet C2O_CACHE=/path TMPDIR=/path) or "
            "mend this one, then run `make mmdet` again\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nmmdet: interrupted; `make mmdet` begins again\n")
        return 130
    print(f"mmcv is there ({time.monotonic() - started:.0f} s), kept in {folder}")
    return 0


if __name__ == "__main__":
    for ended_by in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ended_by) is not signal.SIG_IGN:  # as under nohup
            signal.signal(ended_by, stop)
    sys.exit(main(sys.argv[1:]))
