"""What finds what: the table of expectations, by how far an edit is hidden, by change and by kind of file.

Written by hand from what each file is bound by. A rule names the findings that must be there (all of `find`) and those
that may be there too; anything else is a wrong name. The first rule that fits counts. `find` empty: no level below a
replay can see it, and `anchor` says what does. Whatever is sealed is also found by the ledger, in a line of its own.

A place is a path pattern; {self} is the edited file, {dir} its directory. Kinds are put together with `|`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from c2o_evidence.verify import Report
from tests.drills.mutation_cases import Case

LEDGER = "ledger, signature"
EVAL = f"{LEDGER}, replay of the evaluation"
TRAIN = f"{LEDGER}, replay of the training"
CRATE = "ro-crate-metadata.json"
RECORD = "{dir}/record.json"
SEEDS = "train seeds 0 and 1 are swapped"
ANY_ROW = "row-edited|row-missing|row-extra|row-reordered|used-twice|swapped-between-seeds|stale|swapped|malformed"


@dataclass(frozen=True)
class Rule:
    """`seal`, `change`, `kind`: patterns of a case, alternatives put together with `|`."""

    seal: str
    change: str
    kind: str
    find: tuple[str, ...]
    also: tuple[str, ...] = ()
    words: str = ""  # in the message of a finding
    note: str = ""  # in a note of the report
    level: str = "tables"
    anchor: str = ""

    def fits(self, case: Case) -> bool:
        pairs = ((self.seal, case.seal), (self.change, case.change), (self.kind, case.kind))
        return all(any(fnmatchcase(text, one) for one in pattern.split("|")) for pattern, text in pairs)


def rule(seal: str, change: str, kind: str, *find: str, **more: str | tuple[str, ...]) -> Rule:
    return Rule(seal, change, kind, find, **more)  # type: ignore[arg-type]


def unseen(seal: str, change: str, kind: str, anchor: str, note: str = "") -> Rule:
    return Rule(seal, change, kind, (), note=note, anchor=anchor)


BYTES = "flip|truncate|append|empty"
ROWS = "row-*|used-twice"
FILES = {"level": "files"}

RULES = (
    # Not hidden at all: level `files` names the file and what was done to it.
    rule("none", BYTES, "sums", "malformed|unsafe|missing|extra|changed *", also=("*|* *",), **FILES),
    rule("none", "truncate", "crate", "changed {self}", **FILES),
    rule("none", "truncate", "sidecar", "changed {self}", "stale {self}", words="cut off", **FILES),
    rule("none", "truncate", "model", "changed {self}", "stale {self}.sha256", words="cut off", **FILES),
    rule("none", "truncate", "*", "changed {self}", words="cut off", **FILES),
    rule("none", "empty", "model", "changed {self}", "stale {self}.sha256", words="empty now", **FILES),
    rule("none", BYTES, "model", "changed {self}", "stale {self}.sha256", **FILES),
    rule("none", BYTES, "sidecar", "changed {self}", "stale {self}", **FILES),
    rule("none", BYTES, "*", "changed {self}", **FILES),
    rule("none", "delete", "model", "missing {self}", "stale {self}.sha256", **FILES),
    rule("none", "delete", "*", "missing {self}", **FILES),
    rule(
        "none",
        "rename",
        "model",
        "missing {self}",
        "extra {self}.old",
        "stale {self}.sha256",
        words="was renamed to",
        **FILES,
    ),
    rule("none", "rename", "*", "missing {self}", "extra {self}.old", words="was renamed to", **FILES),
    rule("none", "link", "model", "unsafe {self}", "stale {self}.sha256", **FILES),
    rule("none", "link", "*", "unsafe {self}", **FILES),
    rule("none", "add-file", "*", "extra {self}.more", **FILES),
    rule("none", "add-hidden", "*", "extra {dir}/.hidden", **FILES),
    rule("none", "add-empty", "*", "extra {dir}/empty", **FILES),
    rule("none", "add-directory", "*", "extra {dir}/directory", **FILES),
    rule(
        "none",
        "swap",
        "svg|png|pdf|config",
        "swapped {self}",
        also=("swapped *",),
        words="carries the content",
        **FILES,
    ),
    rule("none", "swap", "*", "swapped {self}", also=("swapped *", "stale *.sha256"), words=SEEDS, **FILES),
    rule(
        "none", "copy-over", "*", "changed {self}", also=("stale {self}.sha256",), words="carries the content", **FILES
    ),
    # SHA256SUMS made again: records, tables and metadata of other files know better.
    rule("sums", "delete|rename", "suite", "malformed {self}", also=("extra {self}.old",)),
    rule("sums", "delete|rename", "*", "missing {self}"),
    rule("sums", BYTES, "sidecar", "stale {self}", f"stale {CRATE}", **FILES),
    rule("sums", BYTES, "model", "stale {self}.sha256", f"stale {CRATE}", f"stale {RECORD}", **FILES),
    rule(
        "sums",
        BYTES,
        "config|curve|results|detections|timing|attention|runs|summary|main|comparisons|detail|text-table",
        f"stale {CRATE}",
        f"stale|swapped {RECORD}",
    ),
    rule("sums", BYTES, "*-record|page", f"stale {CRATE}"),
    rule("sums", BYTES, "svg|png|pdf", f"stale {CRATE}", "changed {self}"),
    rule("sums", BYTES, "gallery", f"stale {CRATE}", f"stale {RECORD}"),
    rule("sums", BYTES, "picture", f"stale {CRATE}", "stale gallery/record.json", "stale gallery/gallery.json"),
    rule("sums", BYTES, "manifest", f"stale {CRATE}", f"{ANY_ROW} {{self}}"),
    rule("sums", BYTES, "annotations", f"stale {CRATE}", "stale {self}"),
    rule("sums", BYTES, "data-manifest", f"stale {CRATE}", "stale train/*/record.json", "stale eval/*/record.json"),
    rule("sums", BYTES, "suite", "malformed|stale|row-edited *", also=("*|* *",)),
    rule("sums", BYTES, "lock", f"stale {CRATE}", "stale {self}"),
    rule("sums", BYTES, "verifier", f"stale {CRATE}", "changed|malformed {self}"),
    rule("sums", BYTES, "readme", f"stale {CRATE}", "row-edited|malformed {self}"),
    rule("sums", BYTES, "crate", "malformed|row-*|stale|changed {self}"),
    rule("sums", "entity-digest|entity-size", "crate", "stale {self}"),
    rule("sums", "entity-name|entity-time", "crate", "row-edited {self}"),
    rule("sums", "drop-entity", "crate", "row-missing {self}"),
    rule("sums", "add-entity", "crate", "row-extra {self}"),
    rule("sums", "twice-entity", "crate", "malformed {self}"),
    # Sidecars and metadata made again too: what the suite asks for, and records.
    rule("lists", "add-file", "*", "extra {self}.more"),
    rule("lists", "add-hidden", "*", "extra {dir}/.hidden"),
    rule("lists", "add-empty", "*", "extra {dir}/empty"),
    rule("lists|digests", "swap", "model", "swapped {self}", "swapped train/student/seed1/model.safetensors"),
    rule("lists|digests", "copy-over", "model", "swapped {self}", "used-twice train/student/seed1/model.safetensors"),
    rule("lists|digests", "swap", "results", "row-missing {self}", "row-extra {self}", "swapped {dir}/record.json"),
    rule("lists|digests", "copy-over", "results", "row-missing {self}", "row-extra {self}"),
    rule("lists|digests", "swap", "detections", "swapped {self}", "swapped-between-seeds tables/runs.tsv"),
    rule("lists|digests", "copy-over", "detections", "swapped {self}", "used-twice eval/student/seed1/*"),
    rule("lists", "swap|copy-over", "config", "stale {self}", "stale|swapped {dir}/record.json"),
    rule("lists", "swap|copy-over", "curve", "stale|swapped {dir}/record.json", "changed figures/loss_curves.svg"),
    rule("lists", "swap|copy-over", "*-record", "swapped {self}", "stale {self}"),
    rule("lists", "swap|copy-over", "svg|png|pdf", "changed {self}"),
    # Cells and rows: the digest in the record of the job, and without it the recomputation.
    rule("lists|digests", "number|path", "results|runs|summary|main|comparisons|manifest|timing", "row-edited {self}"),
    rule("lists|digests", "number", "detail", "row-edited|row-missing {self}"),  # a recall is a number and a name
    rule("lists|digests", "digest", "results|runs|manifest|timing", "stale|swapped {self}"),
    rule("lists|digests", "seed", "results|runs|manifest", "row-missing {self}", "row-extra {self}"),
    rule("lists|digests", "seed", "timing", "row-edited {self}"),
    rule("lists|digests", "seed", "curve", "row-missing|row-reordered|used-twice {self}"),
    rule("lists|digests", "label", "results|runs|manifest|timing", "row-missing {self}", "row-extra {self}"),
    rule("lists|digests", "label", "summary|main|comparisons|detail", "row-edited|row-missing {self}"),
    rule("lists|digests", "label", "attention", "used-twice {self}"),
    rule("lists|digests", "duplicate-row", "*", "used-twice {self}"),
    rule("lists|digests", "reorder", "attention", "changed figures/attention_cost.svg"),
    rule("lists|digests", "reorder", "*", "row-reordered {self}"),
    rule("lists|digests", "delete-row", "attention", "changed figures/attention_cost.svg"),
    rule("lists|digests", "delete-row", "curve", "row-missing|changed *curve*"),
    rule("lists|digests", "delete-row", "*", "row-missing {self}"),
    rule("digests", "swap-values", "runs|results", "swapped-between-seeds {self}"),
    # What was measured: by the record, by the figure that shows it, by the table that quotes it; else by nothing below.
    rule("lists|digests", "loss", "curve", "changed figures/loss_curves.svg"),
    rule("lists|digests", "seconds", "timing", "row-edited {self}", "row-edited tables/summary.tsv"),
    rule("lists|digests", "height", "timing", "row-edited report.html"),
    rule("lists|digests", "kernel-time", "attention", "changed figures/attention_cost.svg"),
    rule("lists", "rate|slowest|kernel-error", "*", f"stale {RECORD}"),
    unseen("digests", "rate", "curve", TRAIN),
    rule("digests", "slowest", "timing", "row-edited report.html"),  # which tells of the passes
    unseen("digests", "kernel-error", "attention", LEDGER),
    # Records: held by the suite, by the files they name, by each other.
    rule("lists", "told-seed", "*-record", "swapped {self}"),
    rule("lists", "hardware-id|cpu", "timing-record", "stale {self}", "row-edited timing/timing.tsv"),
    rule("lists", "code-digest", "eval-record", "stale {self}", "stale {dir}/results.tsv"),
    unseen("lists", "lock", "*-record", LEDGER, note="ran in another environment than environment/lock.txt"),
    unseen("lists", "time|host", "*-record", LEDGER, note="hosts, tools and times in records"),
    rule("lists", "*-digest|*-size|drop-*|told-*|code-digest|rule|cpu|hardware-id|tool", "*-record", "stale {self}"),
    # The suite: what it asks for is not what is there, or not what the jobs were told.
    rule("*", "drop-train-seed", "suite", "extra eval/*/seed1/results.tsv", "row-extra tables/runs.tsv"),
    rule("*", "drop-eval-seed", "suite", "row-extra eval/*/detections.safetensors", "row-extra tables/runs.tsv"),
    rule("*", "add-eval-seed", "suite", "row-missing eval/*/detections.safetensors"),
    rule("*", "drop-row", "suite", "malformed {self}"),  # a speed-up over that row is asked for
    rule("lists|digests", "step", "suite", "row-edited eval/*/results.tsv", "stale timing/record.json"),
    rule("plan", "step", "suite", "row-edited eval/*/results.tsv", "row-edited timing/timing.tsv"),
    rule("all", "step", "suite", "row-edited timing/timing.tsv"),  # the results are made anew, the timing is not
    rule("lists|digests", "row-options", "suite", "stale eval/*/record.json", "stale tables/record.json"),
    rule("plan", "row-options", "suite", "changed figures/ap_over_steps.svg"),
    rule("lists|digests|plan", "suite-label", "suite", "row-edited tables/summary.tsv", "row-edited report.html"),
    rule("lists|digests|plan", "title", "suite", "row-edited tables/summary.md", "row-edited README.md"),
    rule("*", "description", "suite", "row-edited README.md", "row-edited report.html"),
    rule("lists|digests", "data-seed", "suite", "stale {self}", "stale data/manifest.json"),
    rule("plan", "data-seed", "suite", "stale data/manifest.json"),
    rule("*", "init", "suite", "stale train/student/*/model.safetensors"),
    rule("*", "no-teacher", "suite", "stale train/student/*/record.json"),
    rule("*", "repeats", "suite", "row-edited timing/timing.tsv"),
    rule("*", "nodes", "suite", "row-extra attention/attention.tsv", "row-missing attention/attention.tsv"),
    rule("*", "claim", "suite", "row-edited tables/comparisons.tsv"),
    rule("*", "main-notes", "suite", "row-edited tables/main.tsv"),
    rule("*", "name", "suite", "stale train/*/record.json", "row-edited README.md"),
    # The name of a file that is merged into config.yaml decides nothing, but the page tells it.
    rule("lists|digests|plan", "model-file", "suite", "row-edited report.html"),
    # Data.
    rule("lists", "box|category-name", "annotations", "stale {self}"),
    rule("digests", "box|category-name", "annotations", "stale data/manifest.json"),
    rule("plan", "box", "annotations", "row-edited eval/*/results.tsv"),
    rule("plan", "category-name", "annotations", "malformed eval/*/detections.safetensors"),
    rule("lists", "data-*", "data-manifest", "stale train/*/record.json", "stale eval/*/record.json"),
    rule("digests", "data-digest", "data-manifest", "stale data/val.json", "stale {self}"),
    rule("plan", "data-digest", "data-manifest", "stale data/val.json"),
    rule("digests|plan", "data-*", "data-manifest", "stale {self}"),
    # Checkpoints.
    rule("sums", "tensor|header-*", "model", "stale {self}.sha256", f"stale {CRATE}", f"stale {RECORD}", **FILES),
    rule("lists", "tensor", "model", f"stale {RECORD}", "stale eval/baseline/seed1/results.tsv", "stale manifest.tsv"),
    unseen("digests|all", "tensor", "model", EVAL),
    rule("lists|digests", "header-seed|header-recipe", "model", "swapped {self}"),
    rule("lists|digests", "header-config", "model", "stale {dir}/config.yaml"),
    rule("lists|digests", "header-data", "model", "stale suite.yaml"),
    rule("lists|digests", "header-code", "model", f"stale {RECORD}"),
    rule("lists|digests", "header-parent", "model", "stale {self}"),
    rule("lists|digests", "header-no-recipe", "model", "malformed {self}"),
    rule("lists|digests", "header-length", "model", "row-missing {dir}/curve.tsv"),
    rule("sums|lists|digests", "setting", "config", "stale {self}", f"stale {RECORD}"),
    unseen("plan|all", "setting", "config", TRAIN),
    # Detections: AP is computed from them again.
    rule("sums|lists", "nudge", "detections", f"stale {RECORD}", "stale manifest.tsv"),
    unseen("digests", "nudge", "detections", EVAL),
    rule("sums|lists|digests", "score", "detections", "row-edited {dir}/results.tsv", "row-edited tables/runs.tsv"),
    rule("sums|lists|digests", "swap-runs", "detections", "swapped-between-seeds {dir}/results.tsv"),
    rule("sums|lists|digests", "copy-run", "detections", "used-twice {self}", "row-edited {dir}/results.tsv"),
    rule("sums|lists|digests", "delete-run", "detections", "row-missing {self}", "row-extra {dir}/results.tsv"),
    rule("sums|lists|digests", "rename-run", "detections", "row-missing {self}", "row-extra {self}"),
    # The gallery: its pictures by suite and data set, its end by the detections; what lies between by its record.
    rule("lists|digests", "last-step|node", "gallery", "stale {self}"),
    rule("lists|digests", "other-picture", "gallery", "row-edited {self}"),
    rule("lists", "first-step|edge", "gallery", f"stale {RECORD}"),
    rule("digests", "first-step|edge", "gallery", "row-edited report.html"),
    # What is written from tables: written again and compared.
    rule("sums|lists|digests", "digit", "text-table|readme|page", "row-edited {self}"),
    rule("sums|lists|digests", "digit", "verifier", "changed {self}"),
    rule(
        "sums|lists|digests", "digit", "svg", "changed {self}"
    ),  # and the page, where it is in what the page takes over
    rule("sums|lists|digests", "pixel", "png", "changed {self}"),
    rule("sums|lists", "digit", "lock", "stale {self}"),
    unseen("digests", "digit", "lock", LEDGER),
    # Everything above made again: the numbers are those of another evaluation, and only a replay or an anchor can tell.
    unseen("all", "score", "detections", EVAL),
    unseen("all", "box", "annotations", EVAL),
    rule("all", "seconds", "timing", "row-edited {self}"),  # frames a second and seconds a frame
    unseen("all", "kernel-time", "attention", LEDGER),
    unseen("all", "loss", "curve", TRAIN),
    unseen("all", "suite-label", "suite", LEDGER),
)

TABLES = "tables/*"
ABOVE = (f"row-*|stale|swapped*|malformed {TABLES}", "row-*|stale|swapped* manifest.tsv", "row-edited report.html")
DEPENDENTS: dict[str, tuple[str, ...]] = {
    "model": ("stale|swapped */record.json", "stale {self}.sha256",
              "stale|swapped|used-twice|malformed train/*/model.*",
              "stale|swapped eval/*", "stale|swapped manifest.tsv", "stale|swapped tables/runs.tsv",
              "stale|swapped timing/timing.tsv", "stale suite.yaml", "stale {dir}/config.yaml",
              "row-missing {dir}/curve.tsv"),
    "sidecar": (f"stale {RECORD}",),
    "config": ("stale|swapped */record.json", "stale|swapped train/*/config.yaml", "stale eval/*/results.tsv",
               "stale manifest.tsv", "stale tables/runs.tsv", "stale suite.yaml", "malformed {self}"),
    "curve": ("stale|swapped train/*/record.json", "changed figures/*_curves.*", "malformed|stale {self}"),
    "train-record": ("malformed|stale|swapped train/*/record.json",),
    "eval-record": ("malformed|stale|swapped eval/*/record.json", "stale eval/*/results.tsv", "stale tables/runs.tsv"),
    "timing-record": ("malformed|stale {self}", "row-edited timing/timing.tsv", "stale tables/record.json"),
    "attention-record": ("malformed|stale {self}", "row-edited attention/attention.tsv", "stale tables/record.json"),
    "tables-record": ("malformed|stale {self}",),
    "gallery-record": ("malformed|stale {self}",),
    "gallery": ("malformed|row-edited|stale {self}", f"stale {RECORD}"),
    "picture": ("stale gallery/*.json", "unsafe {self}"),
    "results": (f"{ANY_ROW} eval/*/results.tsv", "stale|swapped */record.json", "stale|swapped manifest.tsv"),
    "detections": ("stale|swapped eval/*/record.json", f"{ANY_ROW} eval/*", "stale gallery/gallery.json", *ABOVE),
    "timing": (f"{ANY_ROW} {{self}}", "stale|swapped */record.json", *ABOVE),
    "attention": (f"{ANY_ROW} {{self}}", f"stale {RECORD}", "changed figures/attention_cost.*"),
    "runs": (f"{ANY_ROW} {{self}}", f"stale {RECORD}"),
    "summary": (f"{ANY_ROW} {{self}}", f"stale {RECORD}", "row-edited report.html"),
    "main": (f"{ANY_ROW} {{self}}", f"stale {RECORD}"),
    "comparisons": (f"{ANY_ROW} {{self}}", f"stale {RECORD}", "row-edited report.html"),
    "detail": (f"{ANY_ROW} {{self}}", f"stale {RECORD}", "row-edited report.html"),
    "text-table": (f"{ANY_ROW} {{self}}", f"stale {RECORD}"),
    "svg": ("changed figures/*.svg", "row-edited report.html", "malformed|unsafe {self}"),
    "png": ("changed figures/*.png", "row-edited report.html"),  # which names the files of a figure
    "pdf": ("changed figures/*.pdf", "row-edited report.html"),
    "manifest": (f"{ANY_ROW} {{self}}", "row-edited report.html"),
    "annotations": ("malformed|stale data/*", "row-*|malformed eval/*", "row-edited gallery/gallery.json", *ABOVE),
    "data-manifest": ("malformed|stale data/*", "row-edited gallery/gallery.json", "stale */record.json",
                      "stale eval/*/results.tsv", "stale tables/runs.tsv"),
    "suite": ("stale {self}", "stale */record.json", "row-* eval/*", "row-edited README.md", "row-* timing/timing.tsv",
              "extra train/*", "extra eval/*", "changed figures/*", "stale train/*/model.safetensors", "stale data/*",
              "row-* attention/attention.tsv", "row-edited gallery/gallery.json", "extra|missing gallery/*", *ABOVE),
    "lock": ("extra environment",),
    "page": ("row-edited|malformed {self}",),
    "crate": (f"malformed|row-*|stale|changed {CRATE}",),
}  # fmt: skip
"""What may be found besides, by kind of the edited file: what is made from it, and what names it."""

HIDDEN = {
    # A file that is gone or has another name is in the metadata still; a table that lacks it is cut short.
    "sums": (f"stale|row-* {CRATE}", "malformed {self}", "extra {self}.old", "stale {self}.sha256",
             "stale|swapped eval/*/results.tsv", "stale|swapped manifest.tsv", "stale|swapped tables/runs.tsv",
             "row-missing tables/summary.tsv", "stale data/val.json", "stale|swapped timing/timing.tsv"),
}  # fmt: skip


PAGE = "row-edited report.html"
"""The page tells of every file, so it may differ with any of them."""


def rule_of(case: Case) -> Rule:
    return next(rule for rule in RULES if rule.fits(case))


def allowed(case: Case) -> tuple[str, ...]:
    """Findings that may be there besides those of `find`."""
    rule = rule_of(case)
    if case.seal == "none" or rule.level == "files" and case.change.startswith("add-"):
        return rule.also
    return (*rule.also, PAGE, *HIDDEN.get(case.seal, ()), *DEPENDENTS.get(case.kind, ()))


def matches(expected: str, kind: str, path: str, case: Case) -> bool:
    """Whether a finding is one that `expected`, `KINDS PLACE`, means."""
    kinds, place = expected.split(" ", 1)
    folder = case.path.rsplit("/", 1)[0] if "/" in case.path else "."
    place = place.replace("{self}", case.path).replace("{dir}", folder)
    return any(fnmatchcase(kind, one) for one in kinds.split("|")) and fnmatchcase(path, place)


def check_findings(case: Case, report: Report) -> None:
    """Findings are those of the table: all that must be there, and no others."""
    rule = rule_of(case)
    pairs = {(finding.kind, finding.path) for finding in report.findings}
    shown = "\n".join(map(str, report.findings))
    for expected in rule.find:
        assert any(matches(expected, *pair, case) for pair in pairs), f"not found: {expected}; found:\n{shown}"
    names = (*rule.find, *allowed(case)) if rule.find else ()
    odd = [pair for pair in pairs if not any(matches(name, *pair, case) for name in names)]
    assert odd == [], f"named wrongly:\n{shown}"
    assert rule.words in shown, shown
    assert any(rule.note in note for note in report.notes) or not rule.note, report.notes


ALONE = (
    ("lists|digests", "number|digest|seed|label|path|duplicate-row|delete-row|swap-values", "runs|results",
     "row-*|stale|used-twice *.tsv"),
    ("lists|digests", "digest|path", "manifest", "stale manifest.tsv"),
    ("sums", f"{BYTES}|tensor|header-*", "model|sidecar", "stale *.sha256"),
    ("lists", "tensor|header-*|swap|copy-over", "model", "stale tables/runs.tsv"),
    ("lists", "tensor|header-*|swap|copy-over", "model", "stale manifest.tsv"),
    ("sums", BYTES, "results|detections", "stale manifest.tsv"),
)  # fmt: skip
"""What the bundle's own verify.py claims to find in a bundle with a SHA256SUMS that fits: as in RULES."""


def alone_must_find(case: Case) -> Iterable[str]:
    """Findings of verify.py that a case must have. Without a seal: whatever level `files` finds."""
    return [find for seal, change, kind, find in ALONE if Rule(seal, change, kind, ()).fits(case)]
