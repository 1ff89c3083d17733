"""A bundle as the texts about it need it: verified at level files, its tables and records read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.limits import MAX_SUMS
from c2o_evidence.plain_file import read_plain
from c2o_evidence.records import Record, read_record
from c2o_evidence.suite import Suite, load_resolved_suite
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify.records import jobs_of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """A file of the bundle that proves something, its digest, and where in it to look."""

    path: str
    sha256: str
    where: str = ""


@dataclass(frozen=True)
class Source:
    """A bundle whose files are those of its SHA256SUMS. `digests`: of every file, `root_digest`: of that list."""

    bundle: Path
    suite: Suite
    digests: Mapping[str, str]
    root_digest: str

    def link(self, path: str, where: str = "") -> Link:
        """A link to a file that is in the bundle. Raises EvidenceError where it is not."""
        if path != SUMS_NAME and path not in self.digests:
            raise EvidenceError(f"{self.bundle}: has no {path}, which its suite asks for; take a whole copy of it")
        return Link(path, self.root_digest if path == SUMS_NAME else self.digests[path], where)

    def _table(self, path: str, schema: str) -> list[dict[str, Any]]:
        return read_tsv(self.bundle / path, schema) if path in self.digests else []

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        return self._table("tables/summary.tsv", "summary")

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
        return self._table("tables/comparisons.tsv", "comparisons")

    @cached_property
    def manifest(self) -> list[dict[str, Any]]:
        return self._table("manifest.tsv", "manifest")

    @cached_property
    def timing(self) -> list[dict[str, Any]]:
        return self._table("timing/timing.tsv", "timing")

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        return self._table("tables/runs.tsv", "results")

    @cached_property
    def records(self) -> dict[str, Record]:
        """Every record by its path, in order."""
        return {path: read_record(self.bundle / path) for path in sorted(jobs_of(self.suite)) if path in self.digests}

    @property
    def dataset_sha256(self) -> str:
        """The digest of the data set, as every run names it; empty without runs."""
        return str(self.runs[0]["dataset_sha256"]) if self.runs else ""

    def seconds(self) -> dict[str, float]:
        """Wall time in seconds of all jobs by rule, from their records. A training that was taken over took none."""
        total: dict[str, float] = {}
        for record in self.records.values():
            total[record.rule] = total.get(record.rule, 0.0) + record.seconds
        return dict(sorted(total.items()))

    def hosts(self) -> dict[str, int]:
        """Machines by what they are, with the number of jobs that ran there."""
        return dict(sorted(Counter(machine(record) for record in self.records.values()).items()))

    def code(self, rule: str) -> set[str]:
        """Code digests that jobs of a rule ran with."""
        return {record.code_sha256 for record in self.records.values() if record.rule == rule}


def machine(record: Record) -> str:
    """`CPU, N cores, M GB` of the machine of a record, with its accelerator if it has one."""
    hardware = record.host["hardware"]
    memory = hardware.get("memory_bytes")
    text = f"{hardware.get('cpu', 'unknown')}, {hardware.get('cores', 'unknown')} cores"
    text += f", {memory / 1e9:.0f} GB" if isinstance(memory, int) else ""
    return f"{text}, {hardware['gpu']}" if hardware.get("gpu") else text


def read_source(bundle: Path) -> Source:
    """Reads a bundle.

    Raises:
        DigestError: level files finds something: nothing is said about such a bundle.
        EvidenceError: it is no bundle, or a table or record is malformed.
    """
    from c2o_evidence.verify import verify

    report = verify(bundle)
    if not report.ok:
        raise DigestError(f"{bundle}: does not verify, so nothing is written about it: {report.findings[0]}")
    sums = read_plain(bundle / SUMS_NAME, MAX_SUMS)
    if sha256_bytes(sums) != report.root_digest:
        raise DigestError(f"{bundle}: was exchanged while it was read, so nothing is written about it; type it again")
    listed, _ = parse_sums(sums)  # what every file was just found to have
    return Source(bundle, load_resolved_suite(bundle / "suite.yaml"), listed, report.root_digest)
