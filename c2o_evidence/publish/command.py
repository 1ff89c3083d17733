"""`c2o checklist` and `c2o model-card`: print, or write to a file outside the bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import EvidenceError
from c2o_evidence.publish.checklist import checklist, checklist_markdown
from c2o_evidence.publish.model_card import model_card
from c2o_evidence.publish.source import read_source


def _put(text: str, bundle: Path, out: Path | None) -> int:
    if out is None:
        print(text, end="")
        return 0
    if out.resolve().is_relative_to(bundle.resolve()):
        raise EvidenceError(f"{out}: lies in the bundle, which is frozen; name a file elsewhere")
    if out.is_dir():
        raise EvidenceError(f"{out}: is a directory; name a file in it")
    atomic_write(out, text)
    print(f"written: {out}")
    return 0


def checklist_command(bundle: Path, *, as_json: bool, out: Path | None) -> int:
    """Prints or writes the checklist; 0. Raises EvidenceError."""
    source = read_source(bundle)
    if as_json:
        document = {"root_sha256": source.root_digest, "items": [item.to_dict() for item in checklist(source)]}
        return _put(json.dumps(document, indent=2, ensure_ascii=False) + "\n", bundle, out)
    return _put(checklist_markdown(source), bundle, out)


def model_card_command(bundle: Path, exp_ids: Sequence[str], *, out: Path | None) -> int:
    """Prints or writes the model card; 0. Raises EvidenceError."""
    return _put(model_card(read_source(bundle), exp_ids), bundle, out)
