"""`report.html`: one page that shows a bundle (or, with `c2o report`, all of them), with nothing to fetch.

It is made from the tables, figures and pictures of the results, so it says what they say; text from configurations is
escaped, drawings are taken apart and written again. The parts: `render` (templates, style, script), `inline` (drawings
in a page), `source` (where results lie), a module a section, and `page`, which puts them together.
"""

from c2o_evidence.report.inline import inline_svg, read_svg
from c2o_evidence.report.page import render_report
from c2o_evidence.report.readme import render_readme
from c2o_evidence.report.render import generator, render_template, texts_digest

__all__ = [
    "generator",
    "inline_svg",
    "read_svg",
    "render_readme",
    "render_report",
    "render_template",
    "texts_digest",
]
