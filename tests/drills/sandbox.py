"""Hostile bundles and what reads them: a small honest bundle to break, and a sandbox that counts what was refused."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from c2o_evidence.code import code_files
from c2o_evidence.suite import load_suite
from tests.c2o_evidence.bundle import conftest as toy

ROOT = Path(__file__).resolve().parents[2]
STANDALONE = ROOT / "c2o_evidence" / "templates" / "verify.py"
PEAK_MB = 1200  # of one child, with about 150 for the imported modules
TIMEOUT = 90
MODEL = "train/baseline/seed0/model.safetensors"
DETECTIONS = "eval/baseline/seed0/detections.safetensors"
RESULTS = "eval/baseline/seed0/results.tsv"
RECORD = "eval/baseline/seed0/record.json"


@dataclass
class Tally:
    """What all hostile inputs of a session came to."""

    tried: int = 0
    refused: int = 0
    executed: int = 0
    peak_mb: float = 0.0
    baseline_mb: float = 0.0
    fuzzed: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        return (
            f"hostile inputs tried {self.tried}, refused {self.refused}; executed {self.executed}; "
            f"peak memory {self.peak_mb:.0f} MB (an honest bundle: {self.baseline_mb:.0f} MB)"
        )

    def fuzz_line(self) -> str:
        return f"fuzz: {sum(self.fuzzed.values())} inputs to {len(self.fuzzed)} parsers, each read or refused by name"


TALLY = Tally()
LINES: list[str] = []  # what a drill has to say at the end of the run


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    code: int
    out: str
    err: str
    hung: bool
    seconds: float
    peak_mb: float

    @property
    def text(self) -> str:
        return self.out + self.err


class Sandbox:
    """Runs `c2o …` or the stand-alone verify.py on things that want to break them."""

    def __init__(self) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [sys.executable, str(Path(__file__).with_name("zygote.py")), str(honest())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._place = Path(tempfile.mkdtemp(prefix="c2o-sandbox-"))

    def run(self, *argv: str, script: Path | None = None, timeout: float = TIMEOUT) -> Outcome:
        assert self._process.stdin is not None and self._process.stdout is not None
        names = {name: str(self._place / name) for name in ("stdout", "stderr")}
        request = {**names, "argv": argv, "script": str(script or ""), "cwd": str(self._place), "timeout": timeout}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = (Path(names[name]).read_bytes().decode("utf-8", "surrogateescape") for name in names)
        return Outcome(out=out, err=err, **answer)

    def refuses(self, says: str, *argv: str, script: Path | None = None) -> Outcome:
        """Runs a command that must say `says` and end with 1 or 2, and counts it."""
        outcome = self.run(*argv, script=script)
        TALLY.tried += 1
        TALLY.peak_mb = max(TALLY.peak_mb, outcome.peak_mb)
        TALLY.executed += "EXECUTED" in outcome.err
        shown = (
            f"{argv}: {outcome.code} after {outcome.seconds:.1f} s, {outcome.peak_mb:.0f} MB\n{outcome.text[-3000:]}"
        )
        assert not outcome.hung, shown
        assert "Traceback" not in outcome.text and "EXECUTED" not in outcome.err, shown
        assert outcome.code in (1, 2), shown
        assert says in outcome.text, f"{says!r} is not in: {shown}"
        assert outcome.peak_mb < PEAK_MB, shown
        assert not [c for c in outcome.text if ord(c) < 32 and c != "\n" or ord(c) == 127], shown
        TALLY.refused += 1
        return outcome

    def verify(self, bundle: Path, says: str, standalone: str | None = "") -> None:
        """Refused by `c2o verify` at level files, and by the stand-alone one, which says `standalone`."""
        self.refuses(says, "verify", str(bundle))
        if standalone is not None:
            self.refuses(standalone, str(bundle), script=STANDALONE)

    def tables(self, bundle: Path, says: str) -> None:
        """Refused by level tables alone: the list of digests was made to fit."""
        self.refuses(says, "verify", str(bundle), "--level", "tables", "--jobs", "1")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        shutil.rmtree(self._place, ignore_errors=True)


@cache
def honest() -> Path:
    """The bundle of the toy suite, with results of its own. Not to be changed."""
    root = Path(tempfile.mkdtemp(prefix="c2o-honest-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for name, text in toy.FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in code_files(ROOT, "tables"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    dataset = toy.write_data(root / "data" / "toy")
    suite, base = load_suite("toy", root), root / "results" / "toy"
    for experiment, seed in suite.train_jobs:
        toy.train(root, base, suite, experiment, seed)
    for experiment, seed in suite.eval_jobs:
        toy.evaluate(root, base, suite, experiment, seed, dataset)
    toy.measure(root, base, suite)
    return toy.stage(root)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the honest bundle to break, alone in a directory; removed whatever is in it then."""
    # In memory where there is such a place: to make and remove ten thousand levels takes a disk ten seconds.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="c2o-hostile-", dir=memory))
    try:
        yield Path(shutil.copytree(honest(), place / "box" / "toy"))
    finally:
        # Not shutil: it gives up on a tree of ten thousand levels.
        subprocess.run(["rm", "-rf", str(place)], check=True)


def seal(bundle: Path, **listed: str) -> None:
    """SHA256SUMS over the plain files, as an attacker makes it, with no check; `listed`: further lines."""
    lines = dict(listed)
    for path in sorted(bundle.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "SHA256SUMS":
            lines[path.relative_to(bundle).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    (bundle / "SHA256SUMS").write_text("".join(f"{digest}  {path}\n" for path, digest in sorted(lines.items())))


def edit(bundle: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file of a bundle and seals it again."""
    path = bundle / name
    path.write_bytes(change(path.read_bytes()))
    if name.endswith("model.safetensors"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name("model.safetensors.sha256").write_text(f"{digest}  model.safetensors\n")
    seal(bundle)


def edit_json(bundle: Path, name: str, change: Callable[[dict], None]) -> None:
    document = json.loads((bundle / name).read_bytes())
    change(document)
    edit(bundle, name, lambda _: json.dumps(document).encode())
