"""The ACM artifact badges and the checklists of NeurIPS and of machine learning, filled in from a bundle.

Sources: ACM, "Artifact Review and Badging", version 1.1 (2020); NeurIPS Paper Checklist (2025), questions 1 to 16. The
names and numbers are theirs, the words ours. What no file can prove is left to the authors and never claimed.
"""

from __future__ import annotations

from collections.abc import Iterator

from c2o_evidence.publish.items import Item, count
from c2o_evidence.publish.reproducibility import reproducibility
from c2o_evidence.publish.source import Source
from c2o_evidence.sums import SUMS_NAME

ACM, NEURIPS = "ACM artifact badges", "NeurIPS paper checklist"
T_INTERVAL = "Student t over train seeds (one mean over eval seeds each)"


def _hours(source: Source) -> str:
    spent = source.seconds()
    parts = ", ".join(f"{rule} {seconds / 3600:.2f}" for rule, seconds in spent.items())
    return f"{sum(spent.values()) / 3600:.2f} hours of jobs ({parts})"


def _setting(source: Source) -> str:
    suite = source.suite
    if not suite.rows:
        return "no training: a benchmark of attention kernels"
    seeds = f"{count(len(suite.train_seeds), 'train seed')} x {count(len(suite.eval_seeds), 'eval seed')}"
    runs = f"{count(len(source.runs), 'run')} of {count(len(suite.rows), 'row')}"
    return f"{seeds}, {runs}, {count(len(suite.train_jobs), 'training')}"


def _acm(source: Source) -> Iterator[Item]:
    digests = source.digests
    sums = source.link(SUMS_NAME, f"{len(digests)} files")
    yield Item(
        ACM,
        "Artifacts Available",
        "authors",
        "Say where the bundle is archived, with its DOI and root digest.",
        (sums,),
    )
    answer = (
        f"Documented (README.md), complete ({len(digests)} files behind {_setting(source)}), exercisable: verify.py "
        "checks it with bare Python, `c2o verify --level tables` recomputes every number."
    )
    links = (source.link("README.md"), source.link("verify.py"), source.link("suite.yaml"))
    yield Item(ACM, "Artifacts Evaluated: Functional", "evidence", answer, links)
    answer = (
        "Machine-readable plan, merged configurations, environment lock and RO-Crate metadata are inside; whether "
        "others can use them for more is for an evaluator to say."
    )
    plan = (source.link("environment/lock.txt"), source.link("ro-crate-metadata.json"))
    yield Item(ACM, "Artifacts Evaluated: Reusable", "in part", answer, plan)
    answer = (
        "`c2o verify --level eval` and `--level train` make the results again from the bundle and compare them run by "
        "run. Whoever did that says so with the report (`--json`)."
    )
    yield Item(ACM, "Results Reproduced", "authors", answer, (sums,))
    yield Item(ACM, "Results Replicated", "authors", "Needs another team and artifacts of its own.")


def _claims(source: Source) -> Item:
    held = [row for row in source.comparisons if row["holds"] == "yes"]
    open_ones = [row for row in source.comparisons if row["holds"] != "yes"]
    if not source.comparisons:
        return Item(NEURIPS, "1. Claims", "authors", "The suite states no comparison that a claim could rest on.")
    answer = f"Of {count(len(source.comparisons), 'stated comparison')}, {len(held)} hold at 95 %"
    answer += f" ({'; '.join(row['claim'] or row['a'] for row in held)})" if held else ""
    if open_ones:
        answer += f". Not shown: {'; '.join(row['claim'] or row['a'] for row in open_ones)}"
    links = tuple(
        source.link("tables/comparisons.tsv", f"a={row['a']}, b={row['b']}: holds={row['holds']}")
        for row in source.comparisons
    )
    return Item(NEURIPS, "1. Claims", "in part", f"{answer}. The paper's words must fit.", links)


def _significance(source: Source) -> Item:
    if not source.suite.rows:
        return Item(NEURIPS, "7. Statistical significance", "authors", "There is no random run in this suite.")
    seeds = len(source.suite.train_seeds)
    answer = (
        f"Intervals: {T_INTERVAL}, n = {seeds}; deviations over all runs (population and sample), and the split "
        "between train seeds and eval seeds. Comparisons: paired t over train seeds."
    )
    refused = sorted({row["refused"] for row in source.comparisons if row["refused"]})
    answer += f" Refused: {'; '.join(refused)}." if refused else ""
    links = (source.link("tables/summary.tsv"), source.link("tables/runs.tsv"), source.link("tables/comparisons.tsv"))
    return Item(NEURIPS, "7. Statistical significance", "evidence", answer, links)


def _details(source: Source) -> Item:
    suite = source.suite
    configs = [source.link(f"train/{name}/seed{suite.seeds_of(name)[0]}/config.yaml") for name in suite.needed]
    chosen = [row for row in suite.rows if row.selected]
    answer = f"Every hyper-parameter of {count(len(configs), 'experiment')} is in its merged configuration. "
    if chosen:
        names = "; ".join(f"{row.exp_id}: {row.selected}" for row in chosen)
        answer += f"Selected on results, declared and shown beside the unselected row: {names}."
    else:
        answer += "No row is declared as selected on results; how the recipe was found is for the authors to say."
    return Item(NEURIPS, "6. Experimental setting", "in part", answer, (source.link("suite.yaml"), *configs))


def _compute(source: Source) -> Item:
    hosts = "; ".join(f"{name} ({count(jobs, 'job')})" for name, jobs in source.hosts().items())
    taken = sum("taken_from" in record.parameters for record in source.records.values())
    answer = f"{_hours(source)} on {hosts}."
    answer += (
        f" {count(taken, 'training')} taken over from other suites count with the time of the copy." if taken else ""
    )
    answer += " Runs before these, of tuning or failed, are not in a bundle."
    links = tuple(source.link(path, f"{record.started} to {record.ended}") for path, record in source.records.items())
    return Item(NEURIPS, "8. Compute resources", "in part", answer, links)


def _reproducibility(source: Source) -> Item:
    unsteady = sorted({what for record in source.records.values() for what in record.nondeterminism})
    code = sorted({record.code_sha256[:12] for record in source.records.values()})
    answer = (
        f"{_setting(source)}. Seeds, configurations, code digests ({', '.join(code)}), environment lock and parents "
        "are in records and checkpoints; `c2o verify --level train` runs all of it again. "
    )
    answer += (
        f"Not deterministic: {', '.join(unsteady)}."
        if unsteady
        else "No job named an operation that is not deterministic."
    )
    links = (source.link("suite.yaml"), source.link("environment/lock.txt"), source.link("tables/record.json"))
    return Item(NEURIPS, "4. Result reproducibility", "evidence", answer, links)


def _neurips(source: Source) -> Iterator[Item]:
    yield _claims(source)
    yield Item(NEURIPS, "2. Limitations", "authors", "For the paper. Comparisons that do not hold are named under 1.")
    yield Item(NEURIPS, "3. Theory", "authors", "A bundle holds no proofs.")
    yield _reproducibility(source)
    data = tuple(source.link(path) for path in source.digests if path.startswith("data/"))
    name = source.suite.data_name
    access = f"Data set {name}, digest {source.dataset_sha256}: digests of all its files." if data else "No data set."
    yield Item(NEURIPS, "5. Open access to data and code", "in part", f"{access} Say where data and code are.", data)
    yield _details(source)
    yield _significance(source)
    yield _compute(source)
    yield Item(NEURIPS, "9. Code of ethics", "authors", "For the authors.")
    yield Item(NEURIPS, "10. Broader impacts", "authors", "For the authors.")
    answer = "Checkpoints are safetensors: loading one executes nothing. More is for the authors to say."
    yield Item(NEURIPS, "11. Safeguards", "in part", answer, (source.link(SUMS_NAME),))
    answer = "Licences of data and pretrained weights are not in the evidence; versions of all software are."
    yield Item(NEURIPS, "12. Licences of assets", "in part", answer, (source.link("environment/lock.txt"),))
    models = len(source.suite.train_jobs)
    answer = f"{count(models, 'checkpoint')}, documented by README.md, records and `c2o model-card`."
    yield Item(NEURIPS, "13. New assets", "evidence", answer, (source.link("README.md"), source.link("manifest.tsv")))
    yield Item(NEURIPS, "14. Crowdsourcing and human subjects", "authors", "For the authors.")
    yield Item(NEURIPS, "15. Review board approval", "authors", "For the authors.")
    yield Item(NEURIPS, "16. Use of language models", "authors", "For the authors.")


def checklist(source: Source) -> list[Item]:
    """All items, ACM's badges first."""
    return [*_acm(source), *_neurips(source), *reproducibility(source)]


def checklist_markdown(source: Source) -> str:
    """The checklist as Markdown, links relative to the bundle, each with the digest of what it leads to."""
    from c2o_evidence.tables.text import markdown_escape

    lines = [
        f"# Checklists for {markdown_escape(source.suite.title or source.suite.name)}",
        "",
        f"Filled in from the bundle with root digest `{source.root_digest}`. *evidence*: the files named prove",
        "it; *in part*: they prove what is said, and the authors add the rest; *authors*: nothing in it can answer.",
    ]
    section = ""
    for item in checklist(source):
        if item.list != section:
            section = item.list
            lines += ["", f"## {section}"]
        lines += ["", f"### {item.name}", "", f"**{item.status}.** {markdown_escape(item.answer)}", ""]
        for link in item.links:
            where = f", {markdown_escape(link.where)}" if link.where else ""
            lines.append(f"- [{link.path}]({link.path}){where} (`{link.sha256[:12]}…`)")
    return "\n".join(lines).rstrip("\n") + "\n"
