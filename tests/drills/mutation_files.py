"""The files of the small bundle by kind. Written by hand: a test holds it against the files that are there."""

TRAININGS = ("backbone/seed0", "baseline/seed0", "baseline/seed1", "student/seed0", "student/seed1")
EVALUATIONS = ("baseline/seed0", "baseline/seed1", "student/seed0", "student/seed1")
FIGURES = (
    *("ap_over_steps", "attention_cost", "comparisons", "loss_curves", "match_curves", "speed_quality"),
    *("summary_strip", "variance_split", "per_class", "precision_recall", "confusion", "error_types"),
)
DETAIL = ("per_class", "variance", "precision_recall", "confusion", "errors")

KINDS: dict[str, tuple[str, ...]] = {
    "model": tuple(f"train/{name}/model.safetensors" for name in TRAININGS),
    "sidecar": tuple(f"train/{name}/model.safetensors.sha256" for name in TRAININGS),
    "config": tuple(f"train/{name}/config.yaml" for name in TRAININGS),
    "curve": tuple(f"train/{name}/curve.tsv" for name in TRAININGS),
    "train-record": tuple(f"train/{name}/record.json" for name in TRAININGS),
    "results": tuple(f"eval/{name}/results.tsv" for name in EVALUATIONS),
    "detections": tuple(f"eval/{name}/detections.safetensors" for name in EVALUATIONS),
    "eval-record": tuple(f"eval/{name}/record.json" for name in EVALUATIONS),
    "timing": ("timing/timing.tsv",),
    "timing-record": ("timing/record.json",),
    "attention": ("attention/attention.tsv",),
    "attention-record": ("attention/record.json",),
    "runs": ("tables/runs.tsv",),
    "summary": ("tables/summary.tsv",),
    "main": ("tables/main.tsv",),
    "comparisons": ("tables/comparisons.tsv",),
    "detail": tuple(f"tables/{name}.tsv" for name in DETAIL),
    "text-table": ("tables/summary.md", "tables/summary.tex", "tables/main.md", "tables/main.tex"),
    "tables-record": ("tables/record.json",),
    "svg": tuple(f"figures/{name}.svg" for name in FIGURES),
    "png": tuple(f"figures/{name}.png" for name in FIGURES),
    "pdf": tuple(f"figures/{name}.pdf" for name in FIGURES),
    "manifest": ("manifest.tsv",),
    "annotations": ("data/val.json",),
    "data-manifest": ("data/manifest.json",),
    "suite": ("suite.yaml",),
    "lock": ("environment/lock.txt",),
    "verifier": ("verify.py",),
    "readme": ("README.md",),
    "page": ("report.html",),
    "crate": ("ro-crate-metadata.json",),
    "sums": ("SHA256SUMS",),
    "gallery": ("gallery/gallery.json",),
    "gallery-record": ("gallery/record.json",),
    "picture": ("gallery/images/0.png", "gallery/images/1.png"),
}
"""Kind of file -> its paths."""

TABLES = ("results", "runs", "summary", "main", "comparisons", "detail", "manifest", "timing", "attention", "curve")
RECORDS = ("train-record", "eval-record", "timing-record", "attention-record", "tables-record", "gallery-record")


def kind_of(path: str) -> str:
    return next(kind for kind, paths in KINDS.items() if path in paths)
