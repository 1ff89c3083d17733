"""Set up `.venv` from the hashed locks: what `make setup` runs. Standard library only.

Steps: the virtual environment; every package of `lock.txt`; Detectron2 of `detectron2.txt`; this project,
editable. Each step looks at what is there first, so an interrupted set-up goes on where it stopped; a stamp
in `.venv` lets the Makefile skip all of it. Two at once wait for each other; logs/setup.log keeps it all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from checks import SetupError, check_disk, check_platform, check_python, explain

STAMPED = ("requirements/lock.txt", "requirements/detectron2.txt", "pyproject.toml")
BUILDER = "setuptools"  # builds the four packages that have no wheel, so it comes first
PIECES = (1, 40, 4)  # packages that one pip installs, by step: what an interruption loses at most
LARGE = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)$")
DETECTRON2_WORKS = "import detectron2.checkpoint, detectron2.config, detectron2.layers, detectron2.modeling"


def lock_blocks(text: str) -> dict[str, str]:
    """`{name: requirement with its hashes}` of a lock, in its order, comments dropped."""
    blocks = {}
    for chunk in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        name = re.match(r"[A-Za-z0-9._-]+(?===)", chunk)
        if name:
            lines = [line for line in chunk.splitlines(True) if not line.lstrip().startswith("#")]
            blocks[name.group().lower()] = "".join(lines)
    return blocks


def lock_steps(text: str) -> list[list[str]]:
    """The lock in three parts to install in turn: the build tool, the small packages, torch with CUDA.

    A part is a list of requirements with their hashes.
    """
    blocks = lock_blocks(text)
    large = [name for name in blocks if LARGE.match(name)]
    small = [name for name in blocks if name != BUILDER and name not in large]
    return [[blocks[name] for name in names] for names in ([BUILDER], small, large)]


def drop_half_installed(site_packages: Path) -> list[str]:
    """Remove the metadata of packages whose installation was cut off (no RECORD yet): pip repeats them."""
    broken = [path for path in sorted(site_packages.glob("*.dist-info")) if not (path / "RECORD").is_file()]
    for path in broken:
        shutil.rmtree(str(path))
    return [path.name for path in broken]


def stamp_text(root: Path) -> str:
    """The place (scripts hold it) and the digests, as the Makefile's `pwd -P; sha256sum …` prints them."""
    digests = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in STAMPED]
    return f"{root}\n" + "".join(digests)


def relocate_scripts(bin_directory: Path, old: str, new: str) -> int:
    """Point the scripts of a moved environment at its own Python again. Returns how many were changed."""
    changed = 0
    for path in sorted(bin_directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if content.startswith(b"\x7fELF") or os.fsencode(old) not in content:
            continue
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(content.replace(os.fsencode(old), os.fsencode(new)))
        shutil.copymode(str(path), str(temporary))
        os.replace(str(temporary), str(path))
        changed += 1
    return changed


def pip_progress(line: str) -> tuple[str, bool]:
    """`(text for the screen, important)` from a line of pip's output; no text where it tells nothing."""
    line = line.strip()
    found = re.match(r"Downloading (\S+?)-(\d[^-]*)\S* \((\d+(?:\.\d+)?) (\w+)\)", line)
    if found:
        name, version, size, unit = found.groups()
        large = unit == "GB" or (unit == "MB" and float(size) >= 200)
        return f"downloading {name} {version} ({size} {unit})", large
    found = re.match(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)", line)
    if found:
        return found.group(1), False
    if line.startswith("Installing collected packages:"):
        return f"writing {line.count(',') + 1} packages to disk", False
    return "", False


class Screen:
    """Numbered steps; below each, rewritten in place on a terminal, what is happening now."""

    def __init__(self, steps: int, stream: TextIO = sys.stdout) -> None:
        self.steps, self.number, self.stream = steps, 0, stream
        self.live = stream.isatty()
        self.start = time.monotonic()

    def step(self, text: str) -> None:
        """Begin the next step."""
        self.number += 1
        self.start = time.monotonic()
        self._write(f"[{self.number}/{self.steps}] {text}\n")

    def now(self, text: str, important: bool) -> None:
        """Show what is happening; where lines cannot be rewritten only what is important."""
        if self.live:
            self._write(f"\r\033[K      {time.monotonic() - self.start:>4.0f} s  {text[:60]}")
        elif important:
            self._write(f"      {text}\n")

    def done(self, text: str) -> None:
        """End the step with what came of it."""
        start_of_line = "\r\033[K" if self.live else ""
        self._write(f"{start_of_line}      {text} ({time.monotonic() - self.start:.0f} s)\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Installer:
    """One set-up of the checkout at `root`, by the process that holds the lock `lock_fd`."""

    def __init__(self, root: Path, log: TextIO, lock_fd: int, stream: TextIO = sys.stdout) -> None:
        self.root, self.log, self.lock_fd, self.stream = root, log, lock_fd, stream
        self.venv = root / ".venv"
        self.python = str(self.venv / "bin" / "python")
        self.site_packages = self.venv / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"

    def run(self) -> None:
        """Do what is missing, then write the stamp."""
        stamp, wanted = self.venv / "c2o.stamp", stamp_text(self.root)
        old = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
        if old == wanted and os.path.exists(self.python):
            return
        old_root = old.split("\n", 1)[0]
        same_packages = bool(old) and old.splitlines()[1:3] == wanted.splitlines()[1:3]
        if old:
            stamp.unlink()  # from here to the end the environment is not known to be whole
        if old_root and old_root != str(self.root):
            count = relocate_scripts(self.venv / "bin", f"{old_root}/.venv", str(self.venv))
            self.log.write(f"moved here from {old_root}: {count} scripts changed\n")
        kept = self.venv_works()
        same_packages = same_packages and kept
        self.screen = Screen(2 if same_packages else 6, self.stream)
        self.make_venv(kept)
        if not same_packages:
            self.install_lock()
            self.install_detectron2()
        self.install_project()
        temporary = stamp.with_name("c2o.stamp.new")
        temporary.write_text(wanted, encoding="utf-8")
        os.replace(str(temporary), str(stamp))

    def venv_works(self) -> bool:
        """Whether `.venv` has a Python of this very version, with pip."""
        probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
        return os.path.exists(self.python) and self.call([self.python, "-c", probe])[0] == 0

    def make_venv(self, kept: bool) -> None:
        """Make the virtual environment unless a working one is kept."""
        self.screen.step("virtual environment .venv (Python {}.{}.{})".format(*sys.version_info[:3]))
        if not kept:
            code, output = self.call([sys.executable, "-m", "venv", "--clear", str(self.venv)])
            if code:
                raise SetupError(
                    f"{self.venv}: the virtual environment cannot be made; remove it, then run `make setup`\n"
                    f"{output.strip()[-500:]}"
                )
        self.screen.done("kept" if kept else "made")

    def install_lock(self) -> None:
        """Install every package of the lock, each checked against its hashes."""
        if not (self.site_packages / "torch").is_dir():
            check_disk(self.root)
        for name in drop_half_installed(self.site_packages):
            self.log.write(f"cut off in an earlier run, installed again: {name}\n")
        steps = lock_steps((self.root / "requirements" / "lock.txt").read_text(encoding="utf-8"))
        notes = ("build tool", "small packages, usually a minute", "torch with CUDA, 5 GB, usually 2 minutes")
        for blocks, size, note in zip(steps, PIECES, notes):
            self.screen.step(f"{len(blocks)} of the locked packages ({note})")
            for start in range(0, len(blocks), size):
                piece = self.venv / "c2o-piece.txt"
                piece.write_text("".join(blocks[start : start + size]), encoding="utf-8")
                options = ("--require-hashes", "--no-deps", "--no-build-isolation", "--use-pep517")
                self.pip(*options, "--requirement", str(piece))
                piece.unlink()
            self.screen.done("there")

    def install_detectron2(self) -> None:
        """Install Detectron2's Python files, unless one that works is there (upstream, self-built)."""
        self.screen.step("Detectron2 (usually 20 s)")
        if self.call([self.python, "-c", DETECTRON2_WORKS])[0] == 0:
            self.screen.done("a working one is kept")
            return
        label = ["--python-version=3.10", "--implementation=cp", "--abi=none", "--platform=any"]
        place = ["--no-deps", "--upgrade", "--target", str(self.site_packages)]
        lock = str(self.root / "requirements" / "detectron2.txt")
        self.pip(*label, *place, "--only-binary=:all:", "--require-hashes", "-r", lock)
        code, output = self.call([self.python, "-c", DETECTRON2_WORKS])
        if code:
            raise SetupError(
                "detectron2: installed, but its import fails; look into logs/setup.log\n" + output.strip()[-500:]
            )
        self.screen.done("there")

    def install_project(self) -> None:
        """Put this checkout and the `c2o` command into the environment, without any network."""
        self.screen.step("this project, editable")
        self.pip("--no-index", "--no-deps", "--no-build-isolation", "--editable", str(self.root))
        self.screen.done("there")

    def pip(self, *arguments: str) -> None:
        """`pip install` in the environment; a failure becomes an explanation."""
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=3"]
        code, output = self.call([self.python, "-m", "pip", "install", *options, *arguments], self.show)
        if code:
            raise SetupError(explain(output))

    def show(self, line: str) -> None:
        """Put a line of pip's output on the screen if it tells something."""
        text, important = pip_progress(line)
        if text:
            self.screen.now(text, important)

    def call(self, command: list[str], show: Callable[[str], None] | None = None) -> tuple[int, str]:
        """Run a command; `(exit status, output)`, the output also in the log.

        The child holds our lock too: if we are killed, other set-ups wait until the orphan is done.
        """
        self.log.write(f"\n$ {' '.join(command)}\n")
        environ = dict(os.environ, OMP_NUM_THREADS="1", PIP_USER="0", PYTHONNOUSERSITE="1")
        environ.pop("PYTHONPATH", None)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=str(self.root),
            env=environ,
            pass_fds=(self.lock_fd,),
        )
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            self.log.write(line)
            if show:
                show(line)
        return process.wait(), "".join(lines)


def hold_lock(path: Path, tell: Callable[[str], None], who: str = "another set-up of this directory") -> int:
    """Wait until no other one works on the same. The lock ends with the process (and its pip)."""
    descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        tell(f"{who} is running (process {holder}); waiting for it to end")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return descriptor


def main(root: Path | None = None) -> int:
    """Set up the checkout at `root`. Exit status 0: ready; 1: not possible, says why; 130: interrupted."""
    root = (root or Path(__file__).parent.parent).resolve()
    started = time.monotonic()
    log_path = root / "logs" / "setup.log"
    try:
        check_python()
        check_platform()
        log_path.parent.mkdir(exist_ok=True)
        lock_fd = hold_lock(root / ".setup.lock", lambda text: print(text, flush=True))
        with open(str(log_path), "a", encoding="utf-8", buffering=1) as log:
            log.write(f"\n=== {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            print("setting up .venv; all of pip's output: logs/setup.log", flush=True)
            Installer(root, log, lock_fd).run()
    except SetupError as error:
        sys.stdout.flush()
        sys.stderr.write(f"\nsetup: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nsetup: interrupted; `make setup` goes on from here\n")
        return 130
    print(f"environment ready in .venv ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
