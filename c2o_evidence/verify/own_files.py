"""What only a bundle has: README, report, stand-alone verifier, RO-Crate metadata; written again and compared.

Their wording is that of the version that wrote them, so they are compared as text where it is this one; the page
says which it was. The digests in the RO-Crate metadata are compared always.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.bundle import template
from c2o_evidence.crate import CRATE_NAME, crate_document
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_CRATE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.report import generator, render_readme, render_report
from c2o_evidence.suite import Suite
from c2o_evidence.verify.compare import compare_text
from c2o_evidence.verify.findings import Finding

PAGE = "report.html"
OWN = (PAGE, "README.md", "verify.py", CRATE_NAME)
_GENERATOR = re.compile(r'<meta name="generator" content="(c2o_evidence [^"]*)">')


def check_own(root: Path, suite: Suite, digests: Mapping[str, str]) -> tuple[list[Finding], list[str]]:
    """Findings in the files of `OWN`, and notes on what was not compared: another version of C2O wrote it, or it cannot
    be written again.
    """
    texts: dict[str, str] = {}
    findings: list[Finding] = []
    notes: list[str] = []
    for path in OWN:
        if path in digests:
            try:
                texts[path] = read_plain(root / path, MAX_CRATE).decode("utf-8")
            except OSError as error:
                findings.append(Finding("malformed", path, error.strerror or str(error)))
            except UnicodeDecodeError:
                findings.append(Finding("malformed", path, "is not UTF-8 text"))
    graph = _entities(texts.get(CRATE_NAME))
    if graph is None and CRATE_NAME in texts:
        findings.append(Finding("malformed", CRATE_NAME, "is not RO-Crate metadata"))
    findings += _check_digests(root, graph or {}, digests)
    writer = _GENERATOR.search(texts.get(PAGE, ""))
    if writer is None and PAGE in texts:
        findings.append(Finding("malformed", PAGE, "does not say what wrote it", column="generator"))
    if writer is not None and writer[1] != generator():
        return findings, [f"{', '.join(OWN)}: written by another version of C2O ({writer[1]}), so not compared as text"]
    if "README.md" in texts:
        findings += compare_text("README.md", render_readme(suite), texts["README.md"])
    if texts.get("verify.py", template("verify.py")) != template("verify.py"):
        findings.append(Finding("changed", "verify.py", "is not the verifier that C2O writes: do not run it"))
    if PAGE in texts:
        try:
            findings += compare_text(PAGE, render_report(root, suite), texts[PAGE])
        except (EvidenceError, OSError) as error:  # a table or figure is damaged, and most likely named already
            notes.append(_not_compared(PAGE, root, error))
    if graph is not None:
        try:
            findings += _compare_crate(crate_document(root, suite), graph, texts[CRATE_NAME])
        except (EvidenceError, OSError) as error:
            notes.append(_not_compared(CRATE_NAME, root, error))
    return findings, notes


def written_here(root: Path, digests: Mapping[str, str]) -> bool:
    """Whether the page of a bundle says that it was written by this version of C2O."""
    if PAGE not in digests:
        return False
    try:
        writer = _GENERATOR.search(read_plain(root / PAGE, MAX_CRATE).decode("utf-8", "replace"))
    except OSError:
        return False
    return writer is not None and writer[1] == generator()


def _not_compared(path: str, root: Path, error: Exception) -> str:
    return f"{path} was not compared: it cannot be written again: {str(error).replace(f'{root}/', '')}"


def _entities(text: str | None) -> dict[str, dict[str, Any]] | None:
    """The entities of RO-Crate metadata by `@id`; None if it is none, or an entity is there twice."""
    try:
        document = parse_json((text or "").encode("utf-8"))
        graph = {entity["@id"]: entity for entity in document["@graph"]}
    except (ValueError, TypeError, KeyError):
        return None
    usable = len(graph) == len(document["@graph"]) and all(isinstance(name, str) for name in graph)
    return graph if usable else None


def _check_digests(root: Path, graph: Mapping[str, dict[str, Any]], digests: Mapping[str, str]) -> Iterator[Finding]:
    for path, entity in graph.items():
        if path in digests:
            found = {"sha256": digests[path], "contentSize": str((root / path).stat().st_size)}
            for key, value in found.items():
                said = entity.get(key, value)
                if said != value:
                    message = "is not that of the file"
                    yield Finding("stale", CRATE_NAME, message, f"@id={path}", key, expected=value, found=str(said))
    if graph:
        for path in sorted(set(digests) - set(graph) - {CRATE_NAME}):
            yield Finding("row-missing", CRATE_NAME, "does not describe this file", row=f"@id={path}")


def _compare_crate(document: dict[str, Any], found: Mapping[str, dict[str, Any]], text: str) -> Iterator[Finding]:
    same = True
    expected = {entity["@id"]: entity for entity in document["@graph"]}
    for name in sorted(set(expected) | set(found)):
        row = f"@id={name}"
        if name not in found:
            yield Finding("row-missing", CRATE_NAME, "this entity is not there", row=row)
        elif name not in expected:
            yield Finding("row-extra", CRATE_NAME, "nothing asks for this entity", row=row)
        for key in sorted(set(expected.get(name, ())) | set(found.get(name, ()))):
            want, have = (json.dumps(side.get(name, {}).get(key), ensure_ascii=False) for side in (expected, found))
            if want != have and name in expected and name in found and key not in ("sha256", "contentSize"):
                yield Finding("row-edited", CRATE_NAME, "does not follow from the bundle", row, key, want, have)
        same = same and expected.get(name) == found.get(name)
    if same and text != json.dumps(document, indent=2, ensure_ascii=False) + "\n":
        yield Finding("changed", CRATE_NAME, "says the same, but not in the words of C2O")
