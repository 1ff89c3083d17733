#!/usr/bin/env python3
"""Checks this bundle anywhere: one file, bare Python >= 3.9, standard library only, no network.

    python3 verify.py [BUNDLE]        BUNDLE: the directory to check (default: the one that holds this file)
    python3 -S -I verify.py --json    for machines

What it checks:
  1. every file listed in SHA256SUMS is there with its SHA-256; nothing is extra; no link, device, or path that
     leaves the bundle; every NAME.sha256 fits its file;
  2. every run in tables/runs.tsv names a checkpoint with the digest that the file has, is the row that the
     evaluation wrote, and no seed is used twice;
  3. means and standard deviations in manifest.tsv and tables/summary.tsv follow from the runs.
What it cannot: recompute AP from the stored detections (`c2o verify BUNDLE --level tables` does), and tell whether the
bundle, with this file, was replaced as a whole: compare the root digest with the published one, run your own copy.

Exit code: 0 verified, 1 the evidence does not hold, 2 bad use.
"""

import argparse
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor

SUMS = "SHA256SUMS"
TIMESTAMP = ".snakemake_timestamp"  # an empty file that Snakemake leaves in a directory it made
KEY = ("exp_name", "train_seed", "eval_seed")
LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
TOLERANCE = 1e-9  # relative; two ways to sum floats may differ in the last digits
# A bundle may be made to hurt who looks at it: what is read at once, listed or gone down into has an end.
MAX_SUMS, MAX_TABLE, MAX_COLUMNS = 32 << 20, 64 << 20, 10000  # bytes, bytes, columns
MAX_FILES, MAX_DEPTH, MAX_FINDINGS = 200000, 32, 10000
SPARSE_FROM, SPARSE_RATIO = 1 << 30, 16  # bytes; most declared bytes for a byte on disk


class Refused(Exception):
    """A file that is not read, and why."""


class Check:
    """Collects findings: kind, place and message."""

    def __init__(self, root):
        self.root = root
        self.findings = []
        self.digests = {}

    def add(self, kind, path, message, row="", column="", expected="", found=""):
        values = (kind, path, row, column, message, str(expected), str(found))
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(dict(zip(("kind", "path", "row", "column", "message", "expected", "found"), values)))


def path_fault(path):
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the path is not UTF-8"
    if path.startswith("/") or "\\" in path or path[1:2] == ":":
        return "the path is absolute or not in POSIX form"
    if not path.isprintable() or unicodedata.normalize("NFC", path) != path:
        return "the path has a control character, or looks like another one"
    if ".." in path.split("/"):
        return "the path leaves the bundle"
    if "" in path.split("/") or "." in path.split("/"):
        return "the path is not in its shortest form"
    return None


def walk(check):
    """Plain files with sizes; whatever is neither a plain file nor a directory is a finding."""
    files, directories, pending, seen = {}, set(), [""], 0
    while pending:
        folder = pending.pop()
        with os.scandir(os.path.join(check.root, folder)) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_FILES:
                    check.add("unsafe", folder or ".", f"here the bundle has more than {MAX_FILES} files")
                    return files, directories
                name = folder + "/" + entry.name if folder else entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode) and name.count("/") >= MAX_DEPTH:
                    check.add("unsafe", name, f"is more than {MAX_DEPTH} directories deep")
                elif stat.S_ISDIR(info.st_mode):
                    directories.add(name)
                    pending.append(name)
                elif stat.S_ISREG(info.st_mode):
                    if name != TIMESTAMP or info.st_size:
                        files[name] = info.st_size
                else:
                    what = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a plain file"
                    check.add("unsafe", name, "is " + what)
    return files, directories


def open_plain(path):
    """(stream, size) of a plain file: what was opened is looked at, so that no link or pipe can take its place."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = open(os.open(path, flags), "rb", buffering=0)  # noqa: SIM115  (handed to the caller)
    info = os.fstat(stream.fileno())
    if not stat.S_ISREG(info.st_mode):
        stream.close()
        raise Refused("is not a plain file")
    return stream, info.st_size


def read_file(path, most):
    stream, size = open_plain(path)
    with stream:
        if size > most:
            raise Refused(f"has {size} bytes, more than the limit of {most}")
        return stream.read(size)


def sparse(stream, size):
    """Whether a file declares far more than it holds: hashing 1 TB of zeros takes an hour."""
    if size < SPARSE_FROM or not hasattr(os, "SEEK_HOLE"):
        return False
    data, position, pieces = 0, 0, 0
    try:
        while position < size and data * SPARSE_RATIO < size and pieces < 4096:
            begin = os.lseek(stream.fileno(), position, os.SEEK_DATA)
            position = os.lseek(stream.fileno(), begin, os.SEEK_HOLE)
            data, pieces = data + position - begin, pieces + 1
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: no data from there on
            return False
    finally:
        stream.seek(0)
    return data * SPARSE_RATIO < size and pieces < 4096


def hash_file(path):
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    stream, left = open_plain(path)
    with stream:
        if sparse(stream, left):
            raise Refused(f"is a sparse file that declares {left} bytes")
        while True:
            count = stream.readinto(buffer)
            if not count:
                return digest.hexdigest()
            left -= count
            if left < 0:
                raise Refused("grew while it was read")
            digest.update(view[:count])


def read_sums(check):
    """{path: digest} of the usable lines; every other line is a finding."""
    try:
        data = read_file(os.path.join(check.root, SUMS), MAX_SUMS)
    except Refused as error:
        check.add("unsafe", SUMS, str(error))
        return {}, ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        check.add("malformed", SUMS, "is not UTF-8")
        return {}, hashlib.sha256(data).hexdigest()
    listed, folded = {}, set()
    lines = text.split("\n")
    if lines.pop():
        check.add("malformed", SUMS, "the last line is cut off")
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        row = f"line {number}"
        if not match:
            check.add("malformed", SUMS, "is not '<64 hex digits>  <path>'", row=row)
            continue
        digest, path = match.groups()
        fault = path_fault(path)
        if fault:
            check.add("unsafe", SUMS, f"{fault}: {path!r}", row=row)
        elif path in listed or path == SUMS:
            check.add("malformed", SUMS, f"{path!r} is listed twice, or is the list itself", row=row)
        elif path.casefold() in folded:
            check.add("unsafe", SUMS, f"{path!r} differs from another path in case alone", row=row)
        else:
            listed[path] = digest
            folded.add(path.casefold())
    if not listed and not check.findings:
        check.add("malformed", SUMS, "lists no file")
    return listed, hashlib.sha256(data).hexdigest()


def check_files(check):
    listed, root_digest = read_sums(check)
    files, directories = walk(check)
    parents = set()
    for path in listed:
        parts = path.split("/")
        parents.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if path not in files:
            check.add("missing", path, f"is listed in {SUMS} but not there")
    for path in sorted(set(files) - set(listed) - {SUMS}):
        check.add("extra", path, f"is not listed in {SUMS}")
    for path in sorted(directories - parents):
        check.add("extra", path, f"a directory that {SUMS} knows nothing of")

    def hash_one(path):
        try:
            return hash_file(os.path.join(check.root, path))
        except OSError as error:
            check.add("missing", path, f"cannot be read: {error.strerror}")
        except Refused as error:
            check.add("unsafe", path, str(error))
        return None

    order = sorted((path for path in listed if path in files), key=lambda path: (-files[path], path))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        digests = zip(order, pool.map(hash_one, order))
        check.digests = {path: digest for path, digest in digests if digest}
    changed = [path for path in sorted(check.digests) if check.digests[path] != listed[path]]
    moved = {listed[path]: path for path in changed}
    for path in changed:
        other = moved.get(check.digests[path])
        message = f"carries the content of {other}" if other else "its content is not the one that was listed"
        check.add("swapped" if other else "changed", path, message, expected=listed[path], found=check.digests[path])
    for path in sorted(check.digests):
        target = path[: -len(".sha256")]
        if path.endswith(".sha256") and check.digests.get(target):
            try:
                text = read_file(os.path.join(check.root, path), 4096).decode("utf-8", "replace")
            except (OSError, Refused) as error:
                text = str(error)
            if text != "{}  {}\n".format(check.digests[target], target.split("/")[-1]):
                check.add("stale", path, "does not fit " + target, expected=check.digests[target], found=text.strip())
    return root_digest, sum(files[path] for path in order)


def read_tsv(check, path):
    """Rows of a TSV of this bundle as dictionaries of text; None (and a finding) where it cannot be read."""
    if path not in check.digests:  # never open what is not a listed plain file
        check.add("missing", path, "the table is not in the bundle")
        return None
    try:
        lines = read_file(os.path.join(check.root, path), MAX_TABLE).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError, Refused) as error:
        check.add("malformed", path, f"cannot be read as a table: {error}")
        return None
    if lines[0].count("\t") >= MAX_COLUMNS:
        check.add("malformed", path, f"has more than {MAX_COLUMNS} columns")
        return None
    header = lines[0].split("\t")
    rows = [line.split("\t") for line in lines[1:] if line]
    for number, cells in enumerate(rows, 2):
        if len(cells) != len(header):
            check.add("malformed", path, f"has {len(cells)} cells, the header {len(header)}", f"line {number}")
            return None
    return [dict(zip(header, cells)) for cells in rows]


def number(text):
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan  # what is larger is no AP, and its square may be no number


def close(first, second):
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return abs(first - second) <= TOLERANCE * max(1.0, abs(first), abs(second))


def mean(values):
    return math.fsum(values) / len(values) if values else math.nan


def deviation(values, ddof):
    if len(values) <= ddof:
        return math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - ddof))


def check_cell(check, path, row, column, expected, text):
    if text is not None and not close(expected, number(text)):
        message = "does not follow from tables/runs.tsv"
        check.add("row-edited", path, message, row=row, column=column, expected=repr(expected), found=text)


def check_runs(check, runs):
    """Every run is bound to a hashed checkpoint and to a row of an evaluation, and no seed is used twice."""
    path = "tables/runs.tsv"
    written = {}
    for name in sorted(check.digests):
        if re.fullmatch(r"eval/[^/]+/seed\d+/results\.tsv", name):
            for row in read_tsv(check, name) or ():
                written.setdefault(tuple(row.items()), name)
    seen = set()
    for run in runs:
        key = tuple(run.get(name) for name in KEY)
        row = "exp_name={}, train_seed={}, eval_seed={}".format(*key)
        if key in seen:
            check.add("used-twice", path, "this seed is used twice", row=row)
        seen.add(key)
        checkpoint = check.digests.get(run.get("ckpt_path"))
        if checkpoint != run.get("ckpt_sha256"):
            message = "the checkpoint {} has another digest".format(run.get("ckpt_path"))
            check.add("stale", path, message, row, "ckpt_sha256", checkpoint or "a file", run.get("ckpt_sha256"))
        if tuple(run.items()) not in written:
            check.add("row-edited", path, "no eval/*/seed*/results.tsv has this row", row=row)
    have = {tuple(run.items()) for run in runs}
    for items, name in written.items():
        if items not in have:
            row = ", ".join("{}={}".format(*item) for item in items if item[0] in KEY)
            check.add("row-missing", path, f"a run of {name} is not in the table", row=row)


def check_tables(check):
    """Means and deviations from the runs; returns how many runs there are."""
    runs = read_tsv(check, "tables/runs.tsv")
    if runs is None:
        return 0
    check_runs(check, runs)
    values_of = {}  # by row, and by row and train seed
    for run in runs:
        for key in (run.get("exp_name"), (run.get("exp_name"), run.get("train_seed"))):
            values_of.setdefault(key, []).append(number(run.get("AP", "")))
    path = "tables/summary.tsv"
    for row in read_tsv(check, path) or ():
        values = values_of.get(row.get("exp_id"), [])
        place = "exp_id={}".format(row.get("exp_id"))
        check_cell(check, path, place, "n_runs", float(len(values)), row.get("n_runs"))
        check_cell(check, path, place, "mean_AP", mean(values), row.get("mean_AP"))
        check_cell(check, path, place, "std_AP_pop", deviation(values, 0), row.get("std_AP_pop"))
        check_cell(check, path, place, "std_AP_sample", deviation(values, 1), row.get("std_AP_sample"))
    for row in read_tsv(check, "manifest.tsv") or ():
        key = (row.get("exp_id"), row.get("train_seed"))
        values = values_of.get(key, [])
        place = "exp_id={}, train_seed={}".format(*key)
        check_cell(check, "manifest.tsv", place, "n_runs", float(len(values)), row.get("n_runs"))
        check_cell(check, "manifest.tsv", place, "mean_AP", mean(values), row.get("mean_AP"))
        check_cell(check, "manifest.tsv", place, "std_AP_pop", deviation(values, 0), row.get("std_AP_pop"))
        for name, digest in (("ckpt_path", "ckpt_sha256"), ("results_tsv", "results_sha256")):
            found = check.digests.get(row.get(name))
            if found != row.get(digest):
                message = f"{row.get(name)} has another digest"
                check.add("stale", "manifest.tsv", message, place, digest, found or "a file", row.get(digest))
    return len(runs)


def shown(text, most=500):
    """Text as one line that a terminal only prints: no control, no change of direction, not without end."""
    text = text if len(text) <= most else text[:most] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe(finding):
    finding = {key: shown(value) for key, value in finding.items()}
    place = finding["path"]
    place += ": row " + finding["row"] if finding["row"] else ""
    place += ": column " + finding["column"] if finding["column"] else ""
    text = "{}: {}: {}".format(finding["kind"], place, finding["message"])
    if finding["expected"] or finding["found"]:
        text += " (expected {}, found {})".format(finding["expected"] or "nothing", finding["found"] or "nothing")
    return text


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args(argv)
    check = Check(arguments.bundle)
    try:
        root_digest, size = check_files(check)
        runs = check_tables(check)
    except (OSError, MemoryError) as error:
        print(f"verify.py: {shown(str(error) or 'there is not enough memory for this bundle')}", file=sys.stderr)
        return 2
    check.findings.sort(key=lambda item: (item["path"], item["row"], item["column"], item["kind"]))
    if arguments.json:
        result = {"verified": not check.findings, "root_digest": root_digest, "findings": check.findings}
        print(json.dumps(result, indent=2))
    else:
        for finding in check.findings:
            print(describe(finding))
        verdict = f"FAILED: {len(check.findings)} findings" if check.findings else "verified"
        print(f"{verdict}: {len(check.digests)} files, {size / 1e6:.1f} MB, {runs} runs")
        print(f"root digest (sha256 of {SUMS}): {root_digest}")
    return 1 if check.findings else 0


if __name__ == "__main__":
    sys.exit(main())
