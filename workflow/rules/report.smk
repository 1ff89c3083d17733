"""What `snakemake --report` shows: outputs marked with a caption (workflow/report), a category and labels."""


report: "../report/workflow.rst"


def table(name, suffix="tsv"):
    """The table NAME of a suite, marked for the report."""
    return report(
        f"results/{{suite}}/tables/{name}.{suffix}",
        caption=f"../report/{name}.rst",
        category="Tables",
        labels={"suite": "{suite}", "table": name, "format": suffix},
    )


def tables_of(name):
    """The table NAME in its three forms."""
    return [table(name, suffix) for suffix in ("tsv", "md", "tex")]


def measurement(name):
    """A table beside those of `tables`: `timing`, `attention` or `parity`."""
    return report(
        f"results/{{suite}}/{name}/{name}.tsv",
        caption=f"../report/{name}.rst",
        category="Measurements",
        labels={"suite": "{suite}", "table": name},
    )


def figures_of():
    """The directory of the figures, each as a picture of its own."""
    return report(
        directory("results/{suite}/figures"),
        patterns=["{figure}.{format,svg|pdf}"],
        caption="../report/figures.rst",
        category="Figures",
        labels={"suite": "{suite}", "figure": "{figure}", "format": "{format}"},
    )


def page_of():
    """The deliverable, with its page alone."""
    return report(
        directory("deliverables/{suite}"),
        patterns=["{page,report}.html"],
        caption="../report/page.rst",
        category="Pages",
        labels={"suite": "{suite}"},
    )
