"""`c2o verify --level files` against `sha256sum` over the same files: seconds, MB/s and the ratio (goal: >= 0.9).

    python benchmarks/verify_throughput.py [BUNDLE] [--repeats 15]

Without a bundle, one is made: 60 files, some large, some small, 256 MB. Then one file of 256 MB and 10 000 of 4 KB, by
one thread of ours, by two, and by `sha256sum`, which has one. All read the same files from the page cache, in turn, so
that whatever else the machine does hits all alike. Reported: medians, their ratio, quartiles, and which SHA-256 each
uses: that of OpenSSL takes the processor's SHA instructions, that of coreutils does not unless linked with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from c2o_evidence.sums import SUMS_NAME, format_sums  # noqa: E402
from c2o_evidence.verify.files import check_files, hash_files, walk  # noqa: E402

SIZES = [24 << 20] * 8 + [2 << 20] * 30 + [64 << 10] * 22  # bytes: checkpoints, detections, tables


def make_bundle(folder: Path) -> None:
    """Files of SIZES with random content, and their SHA256SUMS."""
    digests = {}
    for number, size in enumerate(SIZES):
        data = os.urandom(size)
        (folder / f"file{number:03d}").write_bytes(data)
        digests[f"file{number:03d}"] = hashlib.sha256(data).hexdigest()
    (folder / SUMS_NAME).write_text(format_sums(digests))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def sha256sum(bundle: Path) -> None:
    """What a user would type instead."""
    subprocess.run(["sha256sum", "-c", "--quiet", SUMS_NAME], cwd=bundle, check=True)


def verify_files(bundle: Path) -> None:
    result = check_files(bundle)
    if result.findings:
        raise SystemExit(f"the bundle does not verify: {result.findings[0]}")


def verify_command(bundle: Path) -> None:
    """The same as a command, start-up of Python included, as `sha256sum` has its own."""
    subprocess.run(
        [sys.executable, "-m", "c2o_evidence.cli", "verify", str(bundle)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def report(name: str, values: list[float], size: int) -> float:
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"{name:<28} {middle:7.3f} s  [{low:.3f}, {high:.3f}]  {size / 1e6 / middle:7.0f} MB/s  n = {len(values)}")
    return middle


def implementations() -> str:
    """Whose SHA-256 runs on each side."""
    tool = shutil.which("sha256sum") or ""
    linked = subprocess.run(["ldd", tool], capture_output=True, text=True, check=False).stdout
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    theirs = "linked with libcrypto" if "libcrypto" in linked else "its own code, not linked with libcrypto"
    return (
        f"hashlib: {ssl.OPENSSL_VERSION}; processor: sha_ni {'yes' if 'sha_ni' in flags else 'no'}; sha256sum: {theirs}"
    )


def compare_threads(name: str, folder: Path, repeats: int) -> None:
    """One and two threads of ours against sha256sum over the files of a directory, in turns."""
    sizes = walk(folder).files
    paths = [str(folder / path) for path in sizes]
    subjects: dict[str, Callable[[], object]] = {
        "sha256sum": lambda: subprocess.run(["sha256sum", *paths], check=True, stdout=subprocess.DEVNULL),
        "ours, 1 thread": lambda: hash_files(folder, sizes, jobs=1),
        "ours, 2 threads": lambda: hash_files(folder, sizes, jobs=2),
    }
    times: dict[str, list[float]] = {subject: [] for subject in subjects}
    for _ in range(repeats + 1):
        for subject, work in subjects.items():
            times[subject].append(seconds(work))
    size = sum(sizes.values())
    print(f"\n{name}: {len(sizes)} files, {size / 1e6:.0f} MB")
    medians = {subject: report(subject, values[1:], size) for subject, values in times.items()}
    base, one, two = medians.values()
    print(f"1 thread against sha256sum: {base / one:.2f}x; 2 threads against 1: {one / two:.2f}x")


def large_and_small(repeats: int) -> None:
    for name, count, size in (("one large file", 1, 256 << 20), ("many small files", 10_000, 4 << 10)):
        with tempfile.TemporaryDirectory() as temporary:
            for number in range(count):
                (Path(temporary) / f"file{number}").write_bytes(os.urandom(size))
            compare_threads(name, Path(temporary), repeats)
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(8):
            (Path(temporary) / f"file{number}").write_bytes(os.urandom(32 << 20))
        compare_threads("eight large files", Path(temporary), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bundle = arguments.bundle or Path(temporary)
        if arguments.bundle is None:
            make_bundle(bundle)
        size = sum(walk(bundle).files.values())
        subjects = {
            "sha256sum -c": sha256sum,
            "verify, in the process": verify_files,
            "c2o verify (command)": verify_command,
        }
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(arguments.repeats + 1):
            for name, work in subjects.items():
                times[name].append(seconds(lambda work=work: work(bundle)))
        print(f"{size / 1e6:.0f} MB in {len(walk(bundle).files)} files, {os.cpu_count()} cores")
        medians = {name: report(name, values[1:], size) for name, values in times.items()}  # the first run warms up
        base = medians["sha256sum -c"]
        for name in list(subjects)[1:]:
            print(f"throughput of {name!r} against sha256sum: {base / medians[name]:.2f}x")
    if arguments.bundle is None:
        large_and_small(arguments.repeats)
    print(f"\n{implementations()}")


if __name__ == "__main__":
    main()
