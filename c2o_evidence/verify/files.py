"""Level `files`: every listed file is there with its digest, nothing is extra, nothing leaves the bundle.

Nothing is loaded or unpickled: files are read as bytes, streaming, several at a time (hashlib releases the
GIL while it hashes), the largest first so that no thread is left alone with a big one at the end. Small files go to
a thread many at once: the hand-over costs more than their hashing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from c2o_evidence.digest_cache import DigestCache, FileState, file_state
from c2o_evidence.digests import CHUNK, sha256_stream
from c2o_evidence.limits import MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_SIDECAR, MAX_SUMS
from c2o_evidence.paths import path_fault
from c2o_evidence.plain_file import LIMITS, NotPlain, Stamp, open_looked_at, read_plain, sparse_fault, stamp
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.verify.findings import Finding, Kind
from c2o_evidence.verify.naming import MAX_EXTRA, said_sizes, with_renames, with_sizes

BATCH_BYTES = 4 << 20  # what a thread takes at once: one file of that size or more, or several smaller ones
BATCH_FILES = 256
SMALL = 64 << 10  # bytes; opening such a file takes longer than hashing it, and threads only wait for one another
SIDECAR = ".sha256"
TIMESTAMP = ".snakemake_timestamp"  # Snakemake leaves this empty file in every directory that a rule made

Progress = Callable[[int], None]  # called with the number of bytes just hashed


@dataclass
class FilesResult:
    """What level `files` saw: the listed and the found digests by path, and the findings.

    `stamps`: the state of every plain file when it was found; see plain_file.py.
    `cached`: how many of the found digests are known from an earlier time, not from reading the file.
    """

    listed: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    root_digest: str = ""
    n_bytes: int = 0
    cached: int = 0
    findings: list[Finding] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)


@dataclass
class _Tree:
    files: dict[str, int] = field(default_factory=dict)  # path -> size in bytes
    stamps: dict[str, Stamp] = field(default_factory=dict)  # path -> what tells the file, as it is, from any other
    directories: set[str] = field(default_factory=set)
    unsafe: dict[str, str] = field(default_factory=dict)  # path -> what it is


def _what(mode: int) -> str:
    names = {stat.S_IFLNK: "a symbolic link", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    names |= {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "not a plain file")


def walk(root: Path) -> _Tree:
    """All that lies under `root`, links not followed: plain files with sizes, directories, and what is
    neither, or too deep, too many or too large to be part of a bundle.

    Raises OSError if `root` itself cannot be listed.
    """
    tree = _Tree()
    pending: list[tuple[str, tuple[int, int] | None]] = [("", None)]
    seen = 0
    while pending:
        folder, known = pending.pop()
        try:
            entries = _list(root / folder, known, MAX_FILES + 1 - seen)
        except OSError as error:
            if not folder:
                raise
            tree.unsafe[folder] = f"a directory that cannot be listed ({error.strerror})"
            continue
        for entry_name, info in entries:
            name = f"{folder}/{entry_name}" if folder else entry_name
            seen += 1
            if seen > MAX_FILES:
                tree.unsafe[folder or "."] = f"where the bundle has more than {MAX_FILES} files ({LIMITS})"
                return tree
            if stat.S_ISDIR(info.st_mode):
                if name.count("/") >= MAX_DEPTH:
                    tree.unsafe[name] = f"a directory more than {MAX_DEPTH} levels deep ({LIMITS})"
                    continue
                tree.directories.add(name)
                pending.append((name, (info.st_dev, info.st_ino)))
            elif not stat.S_ISREG(info.st_mode):
                tree.unsafe[name] = _what(info.st_mode)
            elif info.st_size > MAX_FILE:
                tree.unsafe[name] = f"a file of {info.st_size} bytes, more than {MAX_FILE} ({LIMITS})"
            elif name != TIMESTAMP or info.st_size:
                tree.files[name] = info.st_size
                tree.stamps[name] = stamp(info)
    return tree


def _list(folder: Path, known: tuple[int, int] | None, most: int) -> list[tuple[str, os.stat_result]]:
    """Names in a directory, `most` of them, and what they are; `known`: its device and inode when it was found."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if known else 0))
    try:
        info = os.fstat(descriptor)
        if known is not None and (info.st_dev, info.st_ino) != known:
            raise NotPlain(errno.EBUSY, "was exchanged while the bundle was looked at")
        with os.scandir(descriptor) as entries:
            return [(entry.name, entry.stat(follow_symlinks=False)) for entry in islice(entries, most)]
    finally:
        os.close(descriptor)


def hash_file(
    path: Path | str,
    progress: Progress | None = None,
    buffer: bytearray | None = None,
    expected: Stamp | None = None,
) -> str:
    """SHA-256 of one plain file, read in chunks.

    Args:
        expected: the stamp of the file that is meant; another one under its path, through a link in a directory's
            place too, is refused.

    Raises:
        NotPlain: a link, a pipe, another file than expected, a sparse one, or one that changes while it is read.
        OSError: it cannot be read.
    """
    descriptor, info = open_looked_at(path, follow=False)
    try:
        before = stamp(info)
        if expected is not None and before != expected:
            raise NotPlain(errno.EBUSY, "was exchanged while the bundle was looked at")
        if fault := sparse_fault(descriptor, info.st_size):
            raise NotPlain(errno.EFBIG, fault)
        digest = sha256_stream(descriptor, buffer, progress)
        if stamp(os.fstat(descriptor)) != before:
            raise NotPlain(errno.EBUSY, "changed while it was read")
        return digest
    finally:
        os.close(descriptor)


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The paths, largest first, in lists of about BATCH_BYTES and at most BATCH_FILES."""
    batch: list[str] = []
    total = 0
    for path in sorted(sizes, key=lambda path: (-sizes[path], path)):
        if batch and (total + sizes[path] > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, total = [], 0
        batch.append(path)
        total += sizes[path]
    if batch:
        yield batch


def hash_files(
    root: Path,
    sizes: Mapping[str, int],
    *,
    stamps: Mapping[str, Stamp] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, str], dict[str, OSError]]:
    """Hashes `sizes` (`{path: bytes}`, relative to `root`): `{path: sha256}` and `{path: why it could not be
    read}`. `stamps`: of the files that are meant, see `hash_file`.
    """
    digests: dict[str, str] = {}
    errors: dict[str, OSError] = {}
    stamps = stamps or {}
    base = os.fspath(root)

    def work(batch: list[str]) -> None:
        buffer = bytearray(CHUNK)
        each = progress if len(batch) == 1 else None
        for path in batch:
            try:
                digests[path] = hash_file(f"{base}/{path}", each, buffer, stamps.get(path))
            except OSError as error:
                errors[path] = error
        if progress is not None and each is None:
            progress(sum(sizes[path] for path in batch))

    large = {path: size for path, size in sizes.items() if size >= SMALL}
    small = {path: size for path, size in sizes.items() if size < SMALL}
    with ThreadPoolExecutor(max_workers=jobs or min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(work, _batches(large))
        for batch in _batches(small):
            work(batch)
        for _ in done:
            pass
    return digests, errors


def seed_of(path: str) -> int | None:
    """The train seed in a path such as `train/student/seed3/model.safetensors`, or None."""
    for part in path.split("/"):
        if part.startswith("seed") and part.isascii() and part[4:].isdigit():
            return int(part[4:])
    return None


def _check_digests(listed: Mapping[str, str], found: Mapping[str, str]) -> list[Finding]:
    """Files whose content differs; `swapped` where one carries the content of another one that has changed
    too.
    """
    changed = [path for path in found if found[path] != listed[path]]
    moved = {listed[path]: path for path in changed}
    owners = {digest: path for path, digest in listed.items()}
    findings = []
    for path in changed:
        other = moved.get(found[path])
        copied = owners.get(found[path])
        message = "its content is not the one that was listed"
        if other is not None or copied is not None:
            message = f"carries the content of {other or copied}"
        seeds = seed_of(path), seed_of(other or "")
        if None not in seeds and seeds[0] != seeds[1]:
            message += f": train seeds {seeds[0]} and {seeds[1]} are swapped"
        kind: Kind = "changed" if other is None else "swapped"
        findings.append(Finding(kind, path, message, expected=listed[path], found=found[path]))
    return findings


def _check_list(data: bytes) -> tuple[dict[str, str], list[Finding]]:
    listed, problems = parse_sums(data)
    findings = []
    for problem in problems:
        place = f"line {problem.line}" if problem.line else ""
        text = f"{problem.message}: {problem.path!r}" if problem.path else problem.message
        findings.append(Finding("unsafe" if problem.unsafe else "malformed", SUMS_NAME, text, row=place))
    if not listed and not findings:
        findings.append(Finding("malformed", SUMS_NAME, "lists no file"))
    return listed, findings


def _check_tree(tree: _Tree, listed: Mapping[str, str]) -> list[Finding]:
    findings = []
    for path, what in tree.unsafe.items():
        findings.append(Finding("unsafe", path, f"is {what}; a bundle holds plain files only"))
    parents = {"/".join(path.split("/")[:depth]) for path in listed for depth in range(1, path.count("/") + 1)}
    for path in tree.directories - parents:
        if (reason := path_fault(path)) is not None:
            findings.append(Finding("unsafe", repr(path), reason))
        elif "/" not in path or "/".join(path.split("/")[:-1]) in parents:
            findings.append(Finding("extra", path, f"a directory that {SUMS_NAME} knows nothing of"))
    for path in tree.files:
        if path not in listed and path != SUMS_NAME:
            reason = path_fault(path)
            if reason is not None:
                findings.append(Finding("unsafe", repr(path), reason))
            else:
                findings.append(Finding("extra", path, f"is not listed in {SUMS_NAME}"))
    for path in listed:
        if path not in tree.files and path not in tree.unsafe:
            findings.append(Finding("missing", path, f"is listed in {SUMS_NAME} but not there"))
    return findings


def _check_sidecars(root: Path, found: Mapping[str, str]) -> Iterable[Finding]:
    for sidecar in sorted(path for path in found if path.endswith(SIDECAR)):
        target = sidecar.removesuffix(SIDECAR)
        if target not in found:
            yield Finding("stale", sidecar, f"there is no {target} beside it")
            continue
        try:
            text = read_plain(root / sidecar, MAX_SIDECAR).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        if text != f"{found[target]}  {target.rsplit('/', 1)[-1]}\n":
            yield Finding("stale", sidecar, f"does not fit {target}", expected=found[target], found=text[:64].strip())


def sizes_to_hash(root: Path) -> tuple[int, int]:
    """Number of plain files and of bytes that `check_files` will read; for a progress bar."""
    files = walk(root).files
    files.pop(SUMS_NAME, None)
    return len(files), sum(files.values())


def _hash_unknown(
    root: Path,
    sizes: Mapping[str, int],
    result: FilesResult,
    cache: DigestCache,
    stamps: Mapping[str, Stamp],
    jobs: int | None,
    progress: Progress | None,
) -> dict[str, OSError]:
    """As `hash_files`, into `result`, but for files that the cache knows to have the listed digest; the errors."""
    states: dict[str, FileState] = {}
    started, base = time.time_ns(), os.fspath(root)
    for path in sizes:
        state = file_state(f"{base}/{path}")
        if state is not None and cache.agrees(state, result.listed[path]):
            result.found[path] = result.listed[path]
        elif state is not None:
            states[path] = state
    result.cached = len(result.found)
    if progress is not None:
        progress(sum(sizes[path] for path in result.found))
    rest = {path: size for path, size in sizes.items() if path not in result.found}
    read, errors = hash_files(root, rest, stamps=stamps, jobs=jobs, progress=progress)
    for path in read.keys() & states.keys():
        cache.learn(f"{base}/{path}", states[path], read[path], started)
    result.found |= read
    return errors


def check_files(
    root: Path, *, jobs: int | None = None, progress: Progress | None = None, cache: DigestCache | None = None
) -> FilesResult:
    """Level `files` of the bundle at `root`; with a cache, files that it knows are not read again.

    Raises OSError if `root` or its SHA256SUMS cannot be read at all.
    """
    result = FilesResult()
    tree = walk(root)
    result.stamps = tree.stamps
    if SUMS_NAME in tree.unsafe:
        what = tree.unsafe[SUMS_NAME]
        result.findings.append(Finding("unsafe", SUMS_NAME, f"is {what}; a bundle holds plain files only"))
        return result
    try:
        data = read_plain(root / SUMS_NAME, MAX_SUMS)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL, errno.EBUSY):
            raise
        result.findings.append(Finding("malformed", SUMS_NAME, error.strerror or str(error)))
        return result
    result.root_digest = hashlib.sha256(data).hexdigest()
    result.listed, result.findings = _check_list(data)
    result.findings += _check_tree(tree, result.listed)
    sizes = {path: size for path, size in tree.files.items() if path in result.listed}
    result.n_bytes = sum(sizes.values())
    if cache is None:
        result.found, errors = hash_files(root, sizes, stamps=tree.stamps, jobs=jobs, progress=progress)
    else:
        errors = _hash_unknown(root, sizes, result, cache, tree.stamps, jobs, progress)
    for path, fault in errors.items():
        kind: Kind = "unsafe" if isinstance(fault, NotPlain) else "missing"
        text = fault.strerror or str(fault)
        text = text if kind == "unsafe" else f"cannot be read: {text}"
        result.findings.append(Finding(kind, path, text, expected=result.listed[path]))
    changed = _check_digests(result.listed, result.found)
    if any(finding.kind == "changed" for finding in changed):
        changed = with_sizes(changed, sizes, said_sizes(root, result.listed, result.found))
    result.findings += changed
    extra = {f.path: tree.files[f.path] for f in result.findings if f.kind == "extra" and f.path in tree.files}
    if result.listed.keys() - tree.files.keys() and 0 < len(extra) <= MAX_EXTRA:
        named, _ = hash_files(root, extra, stamps=tree.stamps, jobs=jobs)
        result.findings = with_renames(result.findings, result.listed, named)
    result.findings += _check_sidecars(root, result.found)
    result.findings.sort(key=Finding.sort_key)
    return result
