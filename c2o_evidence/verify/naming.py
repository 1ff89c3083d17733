"""What was probably done to files that are missing, extra or changed: renamed, emptied, cut off, appended to.

For the words of a finding alone: its kind does not depend on it. SHA256SUMS holds no sizes; the RO-Crate metadata does,
and is asked where its own digest fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from c2o_evidence.verify.findings import Finding

CRATE = "ro-crate-metadata.json"
MAX_CRATE = 64 << 20  # bytes that are parsed for a hint
MAX_EXTRA = 1000  # extra files that are hashed for a hint


def said_sizes(root: Path, listed: Mapping[str, str], found: Mapping[str, str]) -> dict[str, int]:
    """Sizes in bytes that the RO-Crate metadata says, if it is the listed one; else none."""
    path = root / CRATE
    if CRATE not in found or found[CRATE] != listed.get(CRATE) or path.stat().st_size > MAX_CRATE:
        return {}
    try:
        graph = json.loads(path.read_bytes())["@graph"]
        return {str(entity["@id"]): int(entity["contentSize"]) for entity in graph if "contentSize" in entity}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def with_sizes(findings: Sequence[Finding], sizes: Mapping[str, int], said: Mapping[str, int]) -> list[Finding]:
    """`changed` findings that say how the size has changed. `sizes`: of the files now."""
    named = []
    for finding in findings:
        now, then = sizes.get(finding.path), said.get(finding.path)
        if finding.kind == "changed" and now is not None:
            words = ""
            if now == 0:
                words = "it is empty now"
            elif then is not None and now != then:
                words = f"it is {'cut off' if now < then else 'longer'}, {now} bytes and not {then}"
            finding = replace(finding, message=f"{finding.message}: {words}") if words else finding
        named.append(finding)
    return named


def with_renames(findings: Sequence[Finding], listed: Mapping[str, str], extra: Mapping[str, str]) -> list[Finding]:
    """`missing` and `extra` findings that say of each other where one content has another name.

    `extra`: digests of the files that are not listed.
    """
    missing = {listed[finding.path]: finding.path for finding in findings if finding.kind == "missing"}
    places = {digest: path for path, digest in extra.items()}
    named = []
    for finding in findings:
        if finding.kind == "missing" and (place := places.get(listed[finding.path])):
            finding = replace(finding, message=f"{finding.message}: it was renamed to {place}")
        elif finding.kind == "extra" and (origin := missing.get(extra.get(finding.path, ""))):
            finding = replace(finding, message=f"{finding.message}: it is {origin} under another name")
        named.append(finding)
    return named
