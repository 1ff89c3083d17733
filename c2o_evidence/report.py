"""`report.html`: one page that shows a bundle, with nothing to fetch: styles and figures are inside.

It is made from the bundle's own tables, so it says what they say; text from configurations is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from c2o_evidence import __version__
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError
from c2o_evidence.figures import figure_names
from c2o_evidence.limits import MAX_TEXT
from c2o_evidence.plain_file import read_plain
from c2o_evidence.suite import Suite
from c2o_evidence.tables import text, verdict
from c2o_evidence.tsv import read_tsv

Row = Mapping[str, Any]
CAPTIONS = {
    "summary_strip": "Every run a dot, coloured by train seed.",
    "ap_over_steps": "Mean AP over the number of sampling steps.",
    "speed_quality": "Mean AP against time an image.",
    "comparisons": "Differences of mean AP, paired over train seeds; grey: the 95 % interval holds 0.",
    "attention_cost": "Time and peak memory of the attention kernels that run here, over the number of nodes.",
    "loss_curves": "Training loss.",
    "match_curves": "Class accuracy and L1 distance of the nodes matched in training, last stage.",
}


def _render(template_name: str, **values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=template_name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    source = (resources.files("c2o_evidence") / "templates" / template_name).read_text("utf-8")
    return environment.from_string(source).render(**values)


def _description(suite: Suite) -> str:
    return suite.description.strip() or "Results of a C2O suite, with the evidence for every number."


def render_readme(suite: Suite) -> str:
    """The bundle's README."""
    return _render(
        "README.md.j2",
        name=suite.name,
        title=suite.title or suite.name,
        description=_description(suite),
        has_runs=bool(suite.rows),
        n_train=len(suite.train_seeds),
        n_eval=len(suite.eval_seeds),
    )


def inline_svg(data: bytes, title: str) -> str:
    """An SVG as an element of a page: without prolog, fixed size or scripts, titled for screen readers.

    Raises EvidenceError if it is not a picture that this package can have drawn.
    """
    from c2o_evidence.svg import svg_fault

    source = data.decode("utf-8", "replace")
    start = source.find("<svg")
    body = re.sub(r"<metadata>.*?</metadata>", "", source[start:], flags=re.DOTALL)
    if fault := "it has no <svg>" if start < 0 else svg_fault(body):
        raise EvidenceError(f"figure {title}: is not a plain SVG: {fault}; make the figures again")
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{title}">{rest.strip()}'


def read_svg(bundle: Path, name: str) -> str:
    """The figure `name` of a bundle as `inline_svg` gives it. Raises EvidenceError, OSError."""
    return inline_svg(read_plain(bundle / "figures" / f"{name}.svg", MAX_TEXT), name.replace("_", " "))


def _figures(bundle: Path, suite: Suite) -> list[dict[str, Any]]:
    from markupsafe import Markup

    shown = []
    for name in figure_names(suite):
        svg = Markup(read_svg(bundle, name))  # noqa: S704  checked by inline_svg
        shown.append({"svg": svg, "caption": CAPTIONS[name]})
    return shown


def _summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "label": text.marked(row, row["label"]) + (f" selected: {row['selected']}" if row.get("selected") else ""),
            "ap": text.with_deviation(row),
            "interval": text.interval(row),
            "ap50": text.number(row["mean_AP50"]),
            "ap75": text.number(row["mean_AP75"]),
            "fps": text.number(row["inference_fps"], 1),
        }
        for row in rows
    ]


def _comparisons(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "a": row["a"],
            "b": row["b"],
            "claim": row["claim"] or f"{row['a']} is better",
            "difference": text.signed(row["mean_diff"]),
            "interval": f"{text.signed(row['ci95_low'])} to {text.signed(row['ci95_high'])}",
            "p": text.p_value(row["p_value"]),
            "n": row["n_pairs"],
            "verdict": verdict(row),
        }
        for row in rows
    ]


def _timing(suite: Suite, rows: Sequence[Row], summary: Sequence[Row]) -> list[dict[str, Any]]:
    by_id = {row["exp_id"]: row for row in summary}
    if strange := sorted({row["exp_id"] for row in rows} - set(by_id)):
        raise EvidenceError(f"timing: {strange[0]!r} is not a row of the summary; make the tables again")
    return [
        {
            "label": suite.row(row["exp_id"]).label or row["exp_id"],
            "ms": text.number(row["inference_s_per_img"] * 1000, 1),
            "fps": text.number(row["inference_fps"], 1),
            "speedup": text.speedup(by_id[row["exp_id"]]),
            "batch": row["batch"],
            "image": f"{row['image_width']}x{row['image_height']}",
            "threads": row["threads"],
            "hardware": f"{row['hardware']} ({row['hardware_id']})",
        }
        for row in rows
    ]


def _evidence(summary: Sequence[Row], manifest: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "label": row["label"],
            "ap": text.with_deviation(row),
            "checkpoints": [
                {
                    "seed": item["train_seed"],
                    "ap": text.with_deviation(item),
                    "path": item["ckpt_path"],
                    "sha256": item["ckpt_sha256"],
                    "results": item["results_tsv"],
                }
                for item in manifest
                if item["exp_id"] == row["exp_id"]
            ],
        }
        for row in summary
    ]


def texts_digest() -> str:
    """Digest of what decides the words of the files that only a bundle has (report, README, verify.py, RO-Crate
    metadata): where it is equal, they can be compared as text.
    """
    package = resources.files("c2o_evidence")
    parts = [package.joinpath(*part) for part in (("report.py",), ("tables", "text.py"), ("tables", "compare.py"))]
    parts += sorted(package.joinpath("templates").iterdir(), key=lambda item: item.name)
    parts += sorted((item for item in package.iterdir() if item.name.startswith("crate")), key=lambda item: item.name)
    library = metadata.version("rocrate").encode()
    return sha256_bytes(b"".join(part.read_bytes() for part in parts if part.is_file()) + library)


def generator() -> str:
    """What wrote a bundle, as its page says it."""
    return f"c2o_evidence {__version__}, texts {texts_digest()[:12]}"


def render_report(bundle: Path, suite: Suite) -> str:
    """The page for a bundle with its tables, figures and manifest. The same bundle gives the same text.

    Raises TableError or EvidenceError if a table or figure is missing or damaged.
    """
    summary = read_tsv(bundle / "tables" / "summary.tsv", "summary")
    comparisons = read_tsv(bundle / "tables" / "comparisons.tsv", "comparisons")
    timing = read_tsv(bundle / "timing" / "timing.tsv", "timing") if suite.timing is not None else []
    manifest = read_tsv(bundle / "manifest.tsv", "manifest")
    hardware = sorted({row["hardware"] for row in timing if not math.isnan(row["inference_s_per_img"])})
    return _render(
        "report.html.j2",
        generator=generator(),
        name=suite.name,
        title=suite.title or suite.name,
        description=_description(suite),
        train_seeds=", ".join(map(str, suite.train_seeds)),
        eval_seeds=", ".join(map(str, suite.eval_seeds)),
        dataset=suite.data_name,
        hardware="; ".join(hardware),
        has_runs=bool(suite.rows),
        summary=_summary(summary),
        figures=_figures(bundle, suite),
        comparisons=_comparisons(comparisons),
        refused=sorted({row["refused"] for row in comparisons if row["refused"]}),
        timing=_timing(suite, timing, summary),
        evidence=_evidence(summary, manifest),
    )
