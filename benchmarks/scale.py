"""How time and memory of the evidence chain grow: with the rows of a results manifest, with the files of a bundle.

    python benchmarks/scale.py [--rows 1000 10000 100000] [--files 100 1000 10000] [--only merge diff] [--repeats 3]

Each measurement runs in a process of its own on one prepared directory: seconds of the work alone (the median of the
repeats), and by how much the peak of its resident memory lies above that before the work. The exponent is the slope of
log seconds over log size, by least squares over the sizes and, in brackets, between the last two: 1 is linear.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, os.environ.get("C2O_BENCHMARK_TREE", str(ROOT)))  # another checkout, to compare with

PER_TSV = 4  # rows of the manifest that share a results TSV, as the rows of one evaluation do
FILE_BYTES = 4096
Work = Callable[[], object]


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# What is prepared, once a size.


def manifest_rows(root: Path, count: int, shift: float = 0.0) -> list[dict[str, object]]:
    """Rows of a results manifest over `count / PER_TSV` TSVs and checkpoints; `shift`: what 1 row in 100 moves by."""
    rows: list[dict[str, object]] = []
    for number in range(count):
        job = number // PER_TSV
        tsv = f"results/suite{job % 10}/eval/exp{job // 50}/seed{job % 50}/results.tsv"
        ap = 20 + (number * 7919 % 5000) / 100 + (shift if number % 100 == 0 else 0.0)
        rows.append(
            {
                "exp_id": f"row{number % PER_TSV}_{job // 50}",
                "tsv_path": tsv,
                "tsv_sha256": digest_of(tsv),
                "ckpts": tsv.replace("eval", "train").replace("results.tsv", "model.safetensors"),
                "ckpt_sha256s": digest_of(f"{tsv}{shift}"),
                "n_runs": 5,
                "mean_AP": ap,
                "std_AP_pop": 0.125,
                "notes": None,
            }
        )
    return rows


def prepare_rows(root: Path, count: int) -> None:
    from c2o_evidence.tsv import write_tsv

    rows = manifest_rows(root, count)
    for row in rows:
        for path in (str(row["tsv_path"]), str(row["ckpts"])):
            if not (root / path).exists():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(path)
            os.utime(root / path, (0, 0))
    write_tsv(root / "rows.tsv", rows, "results_manifest")
    write_tsv(root / "moved.tsv", manifest_rows(root, count, 1.5), "results_manifest")
    write_tsv(root / "manifests" / "results_manifest.tsv", rows[PER_TSV:], "results_manifest")


def run_rows(count: int) -> list[dict[str, object]]:
    """Rows of a results TSV: 5 train seeds by 5 eval seeds each."""
    metrics = ("AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP-{n}" for n in range(4)))
    return [
        {
            "exp_name": f"row{number // 25}",
            "ckpt_path": f"train/exp{number // 25}/seed{number // 5 % 5}/model.safetensors",
            **dict.fromkeys(("ckpt_sha256", "config_sha256"), digest_of(str(number // 5))),
            **dict.fromkeys(("dataset_sha256", "code_sha256"), digest_of("one")),
            "train_seed": number // 5 % 5,
            "eval_seed": number % 5,
            "sample_step": 1,
            **{name: (number * (31 + index)) % 100000 / 1000 for index, name in enumerate(metrics)},
        }
        for number in range(count)
    ]


def prepare_files(root: Path, count: int) -> None:
    from c2o_evidence.bundle import write_sha256sums

    for name, byte in (("a", b"a"), ("b", b"b")):
        for number in range(count):
            path = root / name / f"part{number // 100}" / f"file{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            changed = byte if number % 100 == 0 else b""
            path.write_bytes(
                changed + number.to_bytes(8, "big") + os.urandom(8) + bytes(FILE_BYTES - 16 - len(changed))
            )
        write_sha256sums(root / name)


# What is measured: each makes ready, and returns the work.


def read_table(root: Path, count: int) -> Work:
    from c2o_evidence.tsv import read_tsv

    return lambda: read_tsv(root / "rows.tsv", "results_manifest")


def format_table(root: Path, count: int) -> Work:
    from c2o_evidence.tsv import format_tsv, read_tsv

    rows = read_tsv(root / "rows.tsv", "results_manifest")
    return lambda: format_tsv(rows, "results_manifest")


def merge(root: Path, count: int) -> Work:
    """One evaluation more; what is known from the merge before is kept, as between two jobs."""
    from c2o_evidence.manifest import merge_results_manifest

    rows = manifest_rows(root, PER_TSV)
    return lambda: merge_results_manifest(root / "manifests" / "results_manifest.tsv", rows)


def compare(root: Path, count: int) -> Work:
    """Every hundredth pair of train seeds swapped in a table of runs: findings for 1 row in 50."""
    from c2o_evidence.tsv import format_tsv
    from c2o_evidence.verify.compare import compare_tsv

    rows = run_rows(count)
    expected = format_tsv(rows, "results")
    for first in range(0, count - 5, 500):
        one, two = rows[first], rows[first + 5]
        for name in one:
            if name.startswith("AP"):
                one[name], two[name] = two[name], one[name]
    found = format_tsv(rows, "results")

    def work() -> None:
        findings = list(compare_tsv("tables/runs.tsv", "results", expected, found))
        assert sum(finding.kind == "swapped-between-seeds" for finding in findings) == 2 * len(range(0, count - 5, 500))

    return work


def status(root: Path, count: int) -> Work:
    """A suite of `count` trainings and as many evaluations, all of them done."""
    from c2o_evidence.status import print_status

    seeds, experiments = 10, max(1, count // 10)
    names = [f"exp{number}" for number in range(experiments)]
    for folder in ("configs", "c2o_model", "c2o_evidence"):
        shutil.copytree(ROOT / folder, root / folder, dirs_exist_ok=True)
    model = "configs/models/digits/small.yaml"
    document = {
        "name": "large",
        "title": "Large",
        "dataset": "configs/data/digits_mini.yaml",
        "train_seeds": list(range(seeds)),
        "eval_seeds": [0],
        "experiments": {name: {"model": model} for name in names},
        "rows": [{"exp_id": name, "experiment": name, "sample_step": 1} for name in names],
    }
    (root / "configs" / "suites" / "large.yaml").write_text(json.dumps(document))
    record = json.dumps({"started": "2024-01-31T12:00:00Z", "ended": "2024-01-31T12:01:00Z"})
    for stage in ("train", "eval"):
        for name in names:
            for seed in range(seeds):
                path = root / "results" / "large" / stage / name / f"seed{seed}" / "record.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(record)

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            print_status("large", root)

    return work


def verify_files(root: Path, count: int) -> Work:
    from c2o_evidence.verify import verify

    return lambda: verify(root / "a")


def verify_cached(root: Path, count: int) -> Work:
    from c2o_evidence import digest_cache
    from c2o_evidence.verify import verify

    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    digest_cache.REST_NS = -(10**12)  # files made a moment ago count as old
    verify(root / "a", cached=True)
    return lambda: verify(root / "a", cached=True)


def diff_manifests(root: Path, count: int) -> Work:
    from c2o_evidence.diff import diff

    return lambda: diff(root / "rows.tsv", root / "moved.tsv")


def diff_runs(root: Path, count: int) -> Work:
    from c2o_evidence.diff import diff
    from c2o_evidence.tsv import write_tsv

    rows = run_rows(count)
    write_tsv(root / "runs_a.tsv", rows, "results")
    for row in rows[::100]:
        row["AP"] = float(str(row["AP"])) / 2
    write_tsv(root / "runs_b.tsv", rows, "results")
    return lambda: diff(root / "runs_a.tsv", root / "runs_b.tsv")


def diff_bundles(root: Path, count: int) -> Work:
    from c2o_evidence.diff import diff

    return lambda: diff(root / "a", root / "b")


ROWS: dict[str, Callable[[Path, int], Work]] = {
    "read a manifest": read_table,
    "format a manifest": format_table,
    "merge one evaluation": merge,
    "compare a table of runs": compare,
    "diff of manifests": diff_manifests,
    "diff of results": diff_runs,
}
FILES: dict[str, Callable[[Path, int], Work]] = {
    "verify files": verify_files,
    "verify files --cached": verify_cached,
    "diff of bundles": diff_bundles,
    "status": status,
}


def measure(case: str, root: Path, count: int, repeats: int) -> None:
    """In a child process: prints seconds, and bytes above what was resident before."""
    work = {**ROWS, **FILES}[case](root, count)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    memory = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in memory.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": statistics.median(seconds), "bytes": max(0, peak - before)}))


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log value over log size by least squares; nan for one size."""
    x, y = [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    centre = statistics.mean(x)
    spread = sum((v - centre) ** 2 for v in x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / spread if spread else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "DIR", "N"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        case, folder, count = arguments.measure
        measure(case, Path(folder), int(count), arguments.repeats)
        return
    kinds = ((ROWS, arguments.rows, "rows", prepare_rows), (FILES, arguments.files, "files", prepare_files))
    for cases, sizes, unit, prepare in kinds:
        names = [name for name in cases if any(part in name for part in arguments.only)]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for count in sizes if names else ():
            with tempfile.TemporaryDirectory(prefix="c2o-scale-") as temporary:
                prepare(Path(temporary), count)
                for name in names:
                    command = [sys.executable, __file__, "--measure", name, temporary, str(count)]
                    command += ["--repeats", str(arguments.repeats)]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        raise SystemExit(f"{name}, {count} {unit}:\n{done.stderr}")
                    found[name].append(json.loads(done.stdout))
        for name in names:
            seconds = [item["seconds"] for item in found[name]]
            cells = [f"{s:9.4f} s {m['bytes'] / 2**20:7.1f} MiB" for s, m in zip(seconds, found[name], strict=True)]
            grows = f"exponent {exponent(sizes, seconds):.2f} ({exponent(sizes[-2:], seconds[-2:]):.2f})"
            print(
                f"{name:24} {' '.join(f'{size:,}' for size in sizes)} {unit}: {'  '.join(cells)}   {grows}", flush=True
            )


if __name__ == "__main__":
    main()
