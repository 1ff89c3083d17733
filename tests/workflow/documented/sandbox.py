"""The checkout in which documented commands are run: a built suite, and files that pages name without making them."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.workflow.conftest import ROOT, Checkout

MORE = (
    "Makefile",
    "README.md",
    "docs",
    "mkdocs.yml",
    "pyproject.toml",
    "benchmarks",
    "manifests/reference",
    "tests/browser",
)
PROGRAMS = {"python": "", "python3": "", "c2o": "-m c2o_evidence.cli", "snakemake": "-m snakemake"}
STAMPS = {
    "c2o.stamp": ("requirements/lock.txt", "requirements/detectron2.txt", "pyproject.toml"),
    "extras.stamp": ("requirements/lock.txt", "requirements/extras.txt"),
    "mmdet.stamp": ("requirements/lock.txt", "requirements/mmdet.txt", "requirements/mmcv.txt"),
    "attest/c2o.stamp": ("requirements/attest.txt",),
}
IDENTITY = "you@example.org"


class Sandbox:
    """A copy of a checkout with a frozen `tiny`, and a home directory of its own."""

    def __init__(self, built: Checkout, place: Path) -> None:
        self.root = built.copy(place / "c2o").path
        self.home = place / "home"
        self.programs = place / "programs"
        for name in MORE:
            source, target = ROOT / name, self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, target)
        self._environment()
        self._bundles()
        self._tables()
        (self.root / "data" / "digits").symlink_to("digits_mini")
        mini = (self.root / "configs/data/digits_mini.yaml").read_text(encoding="utf-8")
        (self.root / "configs/data/mine.yaml").write_text(mini.replace("name: digits_mini", "name: mine"))
        self._keys()

    def run(self, command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """A command line in a shell, at the root of the checkout; stderr is put behind stdout."""
        shell = shutil.which("bash") or "bash"
        return subprocess.run(
            [shell, "-c", command],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _environment(self) -> None:
        """`python`, `c2o` and `snakemake` of this Python, and a `.venv` that counts as ready."""
        self.programs.mkdir()
        virtual = self.root / ".venv" / "bin"
        virtual.mkdir(parents=True)
        for place, names in ((self.programs, PROGRAMS), (virtual, {"python": ""})):
            for name, module in names.items():
                (place / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
                (place / name).chmod(0o755)
        (virtual / "activate").write_text("export VIRTUAL_ENV=.venv\n")
        (self.root / ".venv" / "attest").mkdir()
        for name, files in STAMPS.items():
            stamp = self.root / ".venv" / name
            place = stamp.parent if name.startswith("attest") else self.root
            lines = [f"{hashlib.sha256((self.root / file).read_bytes()).hexdigest()}  {file}" for file in files]
            stamp.write_text("\n".join([str(place.resolve()), *lines]) + "\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "SNAKEMAKE", "MAKE", "MFLAGS"))}
        path = os.pathsep.join([str(self.programs), kept["PATH"]])
        cache = str(self.root.parent / "cache")
        self.environ = kept | {"HOME": str(self.home), "XDG_CACHE_HOME": cache, "PATH": path, "OMP_NUM_THREADS": "1"}
        self.environ.pop("DETECTRON2_DATASETS", None)

    def _bundles(self) -> None:
        """Copies of the deliverable, as they come from others."""
        for name in ("some/bundle", "some/share/tiny", "another/bundle", "old/bundle"):
            shutil.copytree(self.root / "deliverables" / "tiny", self.root / name)

    def _tables(self) -> None:
        """Results files: all runs, those of one row, and those of another."""
        runs = (self.root / "deliverables/tiny/tables/runs.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        name = next(csv.reader(runs, delimiter="\t")).index("exp_name")
        for file, row in (("runs", ""), ("results", ""), ("base", "baseline_1"), ("student", "student_1"),
                          ("mine", "baseline_1"), ("theirs", "student_1")):  # fmt: skip
            kept = [line for line in runs[1:] if not row or line.split("\t")[name] == row]
            (self.root / f"{file}.tsv").write_text("".join([runs[0], *kept]), encoding="utf-8")

    def _keys(self) -> None:
        """A key of the user, the file of allowed signers, and a signature over what others have sent."""
        key = self.home / ".ssh" / "id_ed25519"
        key.parent.mkdir(parents=True, mode=0o700)
        made = self.run(f"ssh-keygen -q -t ed25519 -N '' -C {IDENTITY} -f {key} && c2o sign some/bundle --key {key}")
        assert made.returncode == 0, made.stdout
        public = key.with_suffix(".pub").read_text(encoding="utf-8")
        (self.root / "signers").write_text(f'{IDENTITY} namespaces="c2o-bundle" {public}', encoding="utf-8")
