"""The two sides of a comparison: what each one is, and what vouches for the bytes that are read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.ledger import default_ledger, read_ledger
from c2o_evidence.limits import MAX_SUMS, MAX_TABLE
from c2o_evidence.paths import Inside
from c2o_evidence.plain_file import read_plain
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.tsv import tsv_schema

KINDS = ("results", "results_manifest", "summary", "timing", "deliverables")
LEVELS_UP = 5  # directories above a table in which a bundle's list is looked for


@dataclass
class Table:
    """One TSV: its kind (schema), text, digest, and a sentence on what vouches for it."""

    name: str
    path: Path
    kind: str
    text: str
    sha256: str
    vouched: str


@dataclass
class Bundle:
    """One bundle. Every file that is read is checked against the list first, and counted in `checked`."""

    name: str
    path: Path
    listed: dict[str, str]
    root_digest: str
    frozen: str  # a sentence on what the ledger says
    verified: bool = False  # whether level `files` was run first
    checked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._inside = Inside(self.path)

    def read(self, path: str) -> bytes | None:
        """The content of a listed file; None if the list does not have it.

        Raises:
            DigestError: it is not the listed content, or cannot be read.
        """
        if path not in self.listed:
            return None
        try:
            data = read_plain(self._inside.resolve(path), MAX_TABLE)
        except OSError as error:
            raise DigestError(
                f"{self.name}: {path}: cannot be read: {error.strerror}; `c2o verify {self.name}` says what is wrong"
            ) from error
        if (found := sha256_bytes(data)) != self.listed[path]:
            raise DigestError(
                f"{self.name}: {path}: is not what {SUMS_NAME} lists (expected {self.listed[path]}, found {found}), so "
                f"nothing is compared; `c2o verify {self.name}` says what is wrong"
            )
        self.checked.add(path)
        return data

    @property
    def vouched(self) -> str:
        """What was verified of this side."""
        if self.verified:
            return f"level files verified: all {len(self.listed)} files hold against {SUMS_NAME}"
        return (
            f"{len(self.checked)} of {len(self.listed)} files were read, each has its digest in {SUMS_NAME}; "
            "the others are compared by their listed digests (--verify checks all)"
        )


def load(what: str, root: Path, *, verify: bool = False) -> Table | Bundle:
    """The side that a user names: a bundle, the name of a suite in `deliverables/`, or a TSV.

    Raises:
        EvidenceError: there is no such thing, or it is of no kind that can be compared.
        DigestError: it does not hold against the list that it belongs to; with `verify`, any file of a bundle.
    """
    path = Path(what)
    if not path.exists() and (root / "deliverables" / what).is_dir():
        path = root / "deliverables" / what
    if path.is_dir():
        return _load_bundle(what, path, verify)
    if not path.exists():
        raise EvidenceError(
            f"{what}: is no file, no bundle, and not in deliverables/; give two bundles (a directory or a suite's "
            "name) or two TSVs"
        )
    try:
        text = read_plain(path, MAX_TABLE).decode("utf-8")
    except OSError as error:
        raise EvidenceError(f"{what}: cannot be read: {error.strerror}; give a bundle or a TSV") from error
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{what}: is not UTF-8 text (byte {error.start}); give a bundle or a TSV") from error
    digest = sha256_bytes(text.encode("utf-8"))
    return Table(what, path, _kind(what, text), text, digest, _vouched(path, digest, verify))


def _kind(what: str, text: str) -> str:
    header = tuple(text.split("\n", 1)[0].split("\t"))
    for kind in KINDS:
        names = tsv_schema(kind).names
        if header[: len(names)] == names:
            return kind
    known = "results, results manifests, summaries, timings and ledgers"
    raise EvidenceError(f"{what}: has not the columns of a table that can be compared ({known}); give one of these")


def _vouched(path: Path, digest: str, verify: bool) -> str:
    """What vouches for a table: the list of the bundle that it lies in, if there is one."""
    place = path.resolve()
    for folder in list(place.parents)[:LEVELS_UP]:
        if (folder / SUMS_NAME).is_file():
            relative = place.relative_to(folder).as_posix()
            bundle = _load_bundle(str(folder), folder, verify)
            if relative in bundle.listed:
                if bundle.listed[relative] != digest:
                    raise DigestError(
                        f"{path}: is not what {folder / SUMS_NAME} lists; `c2o verify {folder}` says what is wrong"
                    )
                return f"it is the file that {SUMS_NAME} of the bundle {folder.name} lists"
            break
    more = "; --verify has nothing to check it with" if verify else ""
    return f"not verified: a single file, no {SUMS_NAME} above it lists it{more}"


def _load_bundle(what: str, path: Path, verify: bool) -> Bundle:
    try:
        data = read_plain(path / SUMS_NAME, MAX_SUMS)
    except FileNotFoundError:
        raise EvidenceError(f"{what}: has no {SUMS_NAME}, so it is no bundle; give a frozen one, or a TSV") from None
    except OSError as error:
        raise EvidenceError(f"{what}: {SUMS_NAME}: cannot be read: {error.strerror}") from error
    listed, problems = parse_sums(data)
    if problems:
        raise DigestError(f"{what}: {SUMS_NAME}: line {problems[0].line}: {problems[0].message}; `c2o verify {what}`")
    bundle = Bundle(what, path, listed, sha256_bytes(data), _frozen(path, sha256_bytes(data)))
    if verify:
        from c2o_evidence.verify.files import check_files

        if findings := check_files(path).findings:
            more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
            raise DigestError(f"{what}: does not verify, so nothing is compared: {findings[0]}{more}")
        bundle.verified = True
    return bundle


def _frozen(path: Path, root_digest: str) -> str:
    name = path.resolve().name
    ledger = default_ledger(path.resolve())
    frozen = read_ledger(ledger).get(name) if ledger.is_file() else None
    if frozen is None:
        return "in no ledger here"
    if frozen.root_sha256 == root_digest:
        return f"frozen, revision {frozen.revision}"
    if root_digest in frozen.history:
        return f"an older freeze, revision {frozen.history.index(root_digest) + 1} of {frozen.revision}"
    return f"NOT the content that the ledger has as {name}, revision {frozen.revision}"
