"""`c2o adopt`: checks, copies from a bundle, has the notes written, and says what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2o_evidence.adopt.check import Verdict, check_suite, files_to_hash
from c2o_evidence.adopt.from_bundle import check_bundle, check_made_data, copy_results
from c2o_evidence.adopt.jobs import data_manifest
from c2o_evidence.adopt.layout import Layout
from c2o_evidence.adopt.notes import make_data, write_notes
from c2o_evidence.adopt.store import offer_trainings
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.manifest import merge_results_manifest, results_rows
from c2o_evidence.run_lock import run_lock
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.suite_reduced import SUFFIX

SHOWN = 20


@dataclass
class Outcome:
    """What an adoption found and did, as `--json` prints it."""

    dry_run: bool
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    bundle: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return int(any(v.state == "stale" for suite in self.verdicts.values() for v in suite.values()))

    def to_json(self) -> str:
        suites = [
            {
                "suite": name,
                "jobs": [{"job": place, "state": v.state, "reasons": v.reasons} for place, v in jobs.items()],
            }
            for name, jobs in self.verdicts.items()
        ]
        document = {"dry_run": self.dry_run, "suites": suites, "bundle": self.bundle, "snakemake_notes": self.notes}
        return json.dumps({**document, "new_in_training_store": self.stored, "notes": self.said}, indent=2)


def adopt_command(names: Sequence[str], root: Path, *, bundle: Path | None, dry_run: bool, as_json: bool) -> int:
    """Adopts suites and prints; 0 if all that lies there fits, 1 if something does not.

    Raises:
        EvidenceError: bad use, a suite that is wrong, another run in this directory; nothing has been changed then.
    """
    if not (root / "Snakefile").is_file():
        raise EvidenceError(f"{root}: has no Snakefile; run c2o inside a checkout, or give --root DIR")
    outcome = Outcome(dry_run)
    with nullcontext() if dry_run else run_lock(root):
        if bundle is not None:
            _from_bundle(bundle.resolve(), names, root, outcome, quiet=as_json)
        if bundle is None or not dry_run:
            suites = _suites([outcome.bundle["suite"]] if bundle is not None else names, root, outcome)
            _adopt(suites, root, outcome, bundle, quiet=as_json)
    print(outcome.to_json() if as_json else describe(outcome))
    return outcome.exit_code


def _suites(names: Sequence[str], root: Path, outcome: Outcome) -> list[Suite]:
    """The suites of those names; without names, every one that has results or a deliverable here."""
    if names:
        for name in names:
            if not (root / "results" / name).is_dir():
                hint = f"`c2o adopt --from deliverables/{name}` takes them from a bundle"
                raise EvidenceError(f"results/{name}: there are no results to adopt; {hint}")
        return [load_suite(name, root) for name in dict.fromkeys(names)]
    found = []
    for name in sorted(path.name for path in (root / "results").glob("[!.]*") if path.is_dir()):
        if not (root / "configs" / "suites" / f"{name.removesuffix(SUFFIX)}.yaml").is_file():
            outcome.said.append(f"results/{name}: no suite in configs/suites has this name; left alone")
            continue
        try:
            found.append(load_suite(name, root))
        except EvidenceError as error:
            outcome.said.append(f"results/{name}: left alone: {error}")
    if not found:
        raise EvidenceError(f"{root}: nothing to adopt: results/ holds nothing of a suite in configs/suites")
    return found


def _adopt(suites: Sequence[Suite], root: Path, outcome: Outcome, witness: Path | None, *, quiet: bool) -> None:
    digests: dict[str, str] = {}  # one for all: suites share data sets
    layouts = [Layout(root, suite, witness=witness, digests=digests) for suite in suites]
    with _progress("hashing", lambda: _bytes(layouts), quiet) as progress:
        for layout in layouts:
            outcome.verdicts[layout.suite.name] = check_suite(layout, progress)
    if outcome.dry_run:
        return
    for layout in layouts:
        verdicts = outcome.verdicts[layout.suite.name]
        outcome.stored += offer_trainings(layout, verdicts)
        if verdicts["manifest"].state == "current":
            base = root / "results" / layout.suite.name
            tables = [base / place / "results.tsv" for place, v in verdicts.items() if v.job.kind == "eval"]
            rows = [row for path in tables for row in results_rows(path, base, root)]
            merge_results_manifest(root / "manifests" / "results_manifest.tsv", rows)
    for name, verdicts in outcome.verdicts.items():
        frozen = f"deliverables/{name}"
        damaged = any("is not what the job has written" in text for v in verdicts.values() for text in v.reasons)
        if damaged and (root / frozen).is_dir():
            outcome.said.append(f"`c2o adopt --from {frozen}` restores damaged files from the frozen bundle")
    everything = [verdict for verdicts in outcome.verdicts.values() for verdict in verdicts.values()]
    outcome.notes = write_notes(root, list(outcome.verdicts), everything)


def _from_bundle(bundle: Path, names: Sequence[str], root: Path, outcome: Outcome, *, quiet: bool) -> None:
    """Verifies a bundle and takes from it what the suite of that name would make now."""
    with _progress("verifying the bundle", lambda: _tree_bytes(bundle), quiet) as progress:
        name, digest, ledger = check_bundle(bundle, root, progress)
    if list(names) not in ([], [name]):
        raise EvidenceError(f"{bundle}: is a bundle of the suite {name}, not of {', '.join(names)}")
    suite = load_suite(name, root)
    outcome.bundle = {"suite": name, "path": str(bundle), "root_digest": digest, "ledger": ledger}
    if not ledger:
        outcome.said.append(f"no ledger knows this bundle: compare its root digest {digest} with the published one")
    source = Layout(root, suite, bundle)
    with _progress("checking the bundle", lambda: _bytes([source]), quiet) as progress:
        verdicts = check_suite(source, progress)
    if outcome.dry_run:
        outcome.verdicts[name] = {k: v for k, v in verdicts.items() if k not in ("bundle", "verify", "deliver")}
        return
    if not any(v.state == "current" for v in verdicts.values()):
        first = next((v for v in verdicts.values() if v.reasons), None)
        why = f"{first.job.title}: {first.reasons[0]}" if first is not None else "it holds no results"
        raise DigestError(f"{bundle}: nothing in it is what {suite.path} would make now; {why}; nothing was copied")
    if suite.data_name and any(v.state == "current" for v in verdicts.values() if v.job.kind == "train"):
        manifest = data_manifest(suite)
        if not (root / manifest).exists():
            outcome.said.append(f"{manifest}: the images are not in a bundle; the data set was made again")
            make_data(root, manifest)
        check_made_data(source, bundle)
    copied = copy_results(source, verdicts)
    outcome.bundle |= {"files_copied": copied.files, "bytes_copied": copied.n_bytes}
    outcome.said += [f"{name}: was damaged; restored from the bundle" for name in copied.restored]
    outcome.said += copied.kept


def describe(outcome: Outcome) -> str:
    """The outcome for a reader: what does not fit and why, then what was adopted."""
    lines: list[str] = []
    if outcome.bundle:
        lines.append(f"bundle {outcome.bundle['path']}: verified, root digest {outcome.bundle['root_digest']}")
    if "files_copied" in outcome.bundle:
        size = outcome.bundle["bytes_copied"] / 1e6
        lines.append(
            f"copied to results/{outcome.bundle['suite']}: {outcome.bundle['files_copied']} files, {size:.1f} MB"
        )
    for name, verdicts in outcome.verdicts.items():
        states = [verdict.state for verdict in verdicts.values()]
        verb = "would be adopted" if outcome.dry_run else "adopted"
        lines.append(f"{name}: {states.count('current')} of {len(states)} jobs {verb}")
        for state, text in (("stale", "made again"), ("unproven", "left to Snakemake's own note, if it has one")):
            found = [verdict for verdict in verdicts.values() if verdict.state == state]
            for verdict in found[:SHOWN]:
                lines.append(f"  {state}: {verdict.job.title} (will be {text})" if state == "stale"
                             else f"  {state}: {verdict.job.title} ({text})")  # fmt: skip
                lines += [f"    {reason}" for reason in verdict.reasons]
            lines += [f"  … and {len(found) - SHOWN} more {state} (--json lists all)"] if len(found) > SHOWN else []
        if missing := [verdict.job.title for verdict in verdicts.values() if verdict.state == "missing"]:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            lines.append(f"  not made yet: {', '.join(missing[:3])}{more}")
    if outcome.notes:
        lines.append("Snakemake's notes: {noted} written, {noted_before} there before, {to_be_made_again} jobs marked "
                     "to be made again".format(**outcome.notes))  # fmt: skip
        lines.append(f"training store: {outcome.stored} new")
    return "\n".join([*lines, *(f"note: {text}" for text in outcome.said)])


def _bytes(layouts: Sequence[Layout]) -> int:
    sizes: dict[str, int] = {}
    for layout in layouts:
        sizes |= layout.sizes(files_to_hash(layout))
    return sum(sizes.values())


def _tree_bytes(path: Path) -> int:
    from c2o_evidence.verify.files import sizes_to_hash

    return sizes_to_hash(path)[1] if path.is_dir() else 0


@contextmanager
def _progress(what: str, total: Callable[[], int], quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar over bytes on a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total())
        yield lambda count: bars.advance(task, count)
