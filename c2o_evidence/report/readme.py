"""The bundle's README."""

from __future__ import annotations

from c2o_evidence.report.render import render_template
from c2o_evidence.suite import Suite
from c2o_evidence.tables import text


def description_of(suite: Suite) -> str:
    """What a suite says of itself."""
    return suite.description.strip() or "Results of a C2O suite, with the evidence for every number."


def render_readme(suite: Suite) -> str:
    """The bundle's README."""
    return render_template(
        "README.md.j2",
        name=suite.name,
        title=text.markdown_escape(suite.title or suite.name),
        description=text.markdown_escape(description_of(suite)),
        has_runs=bool(suite.rows),
        n_train=len(suite.train_seeds),
        n_eval=len(suite.eval_seeds),
    )
