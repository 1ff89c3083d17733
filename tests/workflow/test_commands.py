"""What Snakemake's own commands say about this workflow. With stub scripts."""

import base64
import json
import subprocess
import sys

import yaml


def test_lint_is_clean(fresh) -> None:
    done = fresh.run("--lint")
    assert done.returncode == 0 and "your workflow is in a good condition" in done.stdout, done.stdout


def test_snakefmt_is_clean(fresh) -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=fresh.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_target_the_suites_are_listed_and_nothing_is_built(fresh) -> None:
    done = fresh.run()
    assert done.returncode == 0
    assert "snakemake deliverables/tiny " in done.stdout and "A suite for tests" in done.stdout
    assert not (fresh.path / "results").exists() and not (fresh.path / "data").exists()


def test_a_profile_that_is_not_there_is_an_error_that_names_those_that_are(fresh) -> None:
    """Snakemake passes over a --workflow-profile that it does not find; the run would work here without one."""
    done = fresh.run("deliverables", "--cores", "1", "--workflow-profile", "profiles/slurn")
    assert done.returncode == 1 and "rule deliverables" not in done.stdout
    assert "--workflow-profile profiles/slurn: is missing; nothing was run. This checkout has profiles/" in done.stdout


def test_the_rule_graph_has_every_rule_and_no_cycle(fresh) -> None:
    done = fresh.run("deliverables/tiny", "--rulegraph")
    assert done.returncode == 0
    rules = "data train distill evaluate timing attention gallery tables figures manifest bundle verify freeze deliver"
    for rule in rules.split():
        assert f'label = "{rule}"' in done.stdout


def test_the_report_has_tables_and_figures_with_captions_and_needs_no_network(built) -> None:
    from c2o_evidence.extent import Extent
    from c2o_evidence.figures import figure_names
    from c2o_evidence.suite import load_suite

    names = figure_names(load_suite("tiny", built.path), Extent(ap_curves=True))
    for name in names:
        (built.path / f"results/tiny/figures/{name}.svg").write_text(f"<svg>{name}</svg>")
    (built.path / "results/tiny/figures/per_class.pdf").write_text("%PDF")
    (built.path / "deliverables/tiny/report.html").write_text("<p>page</p>")
    (built.path / "results/tiny/tables/summary.md").write_text("| AP |\n|---|\n| 46.43 ± 0.78 |\n")
    done = built.run("deliverables/tiny", "--report", "report.html")
    assert done.returncode == 0, done.stdout
    page = (built.path / "report.html").read_text()

    def embedded(name: str) -> dict:
        (line,) = [line for line in page.splitlines() if line.lstrip().startswith(f"var {name} = {{")]
        return json.loads(line.split(" = ", 1)[1].rstrip().rstrip(";"))

    shown, tables = embedded("results"), "results/tiny/tables"
    labels = {path: (item["labels"], item["mime_type"]) for path, item in shown.items()}
    for name in ("runs", "comparisons", "per_class", "variance", "precision_recall", "confusion", "errors"):
        expected = {"suite": "tiny", "table": name, "format": "tsv"}
        assert labels[f"{tables}/{name}.tsv"] == (expected, "text/tab-separated-values")
    assert {f"{tables}/{name}.{kind}" for name in ("summary", "main") for kind in ("tsv", "md", "tex")} <= set(shown)
    assert "| 46.43 ± 0.78 |" in shown[f"{tables}/summary.tsv"]["caption"]
    assert "a mark a row of the suite" in shown["results/tiny/figures/per_class.pdf"]["caption"]
    for name in names:
        item = shown[f"results/tiny/figures/{name}.svg"]
        assert item["labels"] == {"suite": "tiny", "figure": name, "format": "svg"}
        assert base64.b64encode(f"<svg>{name}</svg>".encode()).decode() in item["data_uri"]
        assert not item["caption"].startswith("<p> Suite"), f"workflow/report/figures.rst: no caption of {name}"
    assert shown["deliverables/tiny/report.html"]["mime_type"] == "text/html"
    assert all(item["caption"] for item in shown.values()) and "system-message" not in json.dumps(shown)
    categories = embedded("categories")
    count = {name: sum(len(found) for found in inner.values()) for name, inner in categories.items()}
    assert count == {"Pages": 1, "Tables": 13, "Measurements": 2, "Figures": len(names) + 1}
    assert "bundle, beside the" in shown["deliverables/tiny/report.html"]["caption"]
    assert "Every number follows from stored results" in page


def test_the_deliverable_needs_no_further_flag(fresh) -> None:
    """The profile beside the Snakefile is read by itself; with it a run has all that these tests rely on."""
    profile = yaml.safe_load((fresh.path / "profiles/default/profile.yaml").read_text())
    assert profile["rerun-triggers"] == ["params", "input"]
    output = fresh.build()
    assert "Using workflow specific profile profiles/default" in output and "24 of 24 steps" in output
    assert (fresh.path / "deliverables/tiny/SHA256SUMS").is_file()


def test_the_exclusive_jobs_run_alone_and_where_they_cost_least(stub_build) -> None:
    """Attention needs nothing and goes first; timing waits for the last evaluation, when the cores empty."""
    ran = (stub_build.path / "stub.ran").read_text().splitlines()
    assert ran[0] == "attention tiny"
    assert ran.index("timing tiny") > max(
        ran.index(job) for job in ran if job.startswith(("evaluate", "train", "distill"))
    )


def test_the_longest_chain_goes_first(stub_build) -> None:
    """Of the two jobs that a finished baseline makes possible, the one with a chain behind it is taken."""
    ran = (stub_build.path / "stub.ran").read_text().splitlines()
    for seed in (0, 1):
        assert ran.index(f"train tiny warmstart {seed}") < ran.index(f"evaluate tiny baseline {seed}")


def test_jobs_start_with_string_hashing_pinned(stub_build) -> None:
    """It cannot be pinned inside a process: it has to be in the environment that Snakemake gives to scripts."""
    command = [sys.executable, "-c", "print(hash('c2o'))"]
    environment = {**stub_build.environment, "PYTHONHASHSEED": "0"}
    expected = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    for log in ("train/baseline/seed0.log", "evaluate/student/seed1.log", "tables.log"):
        assert f"hash of c2o: {expected}" in (stub_build.path / "logs/tiny" / log).read_text()
