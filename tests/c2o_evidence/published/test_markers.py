"""Marked places of Markdown: any text is read or refused, and a written table is read back as it was."""

from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import EvidenceError
from c2o_evidence.published.diff import compare_place
from c2o_evidence.published.kinds import Table
from c2o_evidence.published.markers import Marker, Place, find_places, is_rule, split_row

CELL = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=8)
PIECES = ("<!-- c2o:table ", "<!-- c2o:end -->", "suite=a", " table=b", ' rows="', " -->", "```", "\n", "| a |", "x")


@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_any_text_is_read_or_refused(pieces) -> None:
    lines = "".join(pieces).split("\n")
    try:
        places = find_places(lines, "f.md")
    except EvidenceError as error:
        assert str(error).startswith("f.md:")
        return
    for place in places:
        assert lines[place.first].startswith("<!-- c2o:table ") and lines[place.last].startswith("<!-- c2o:end")
        assert list(place.lines) == lines[place.first + 1 : place.last]


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_a_written_table_is_read_back_as_it_was(rows) -> None:
    table = Table(("name", "a|b", "c"), tuple(rows), (0,), (True, False, False))
    lines = table.lines()
    assert is_rule(lines[1]) and [tuple(split_row(line)) for line in lines[2:]] == rows
    assert list(compare_place(Place("f.md", 0, len(lines) + 1, Marker("s", "t"), tuple(lines)), table)) == []


def test_fences_hide_examples_but_not_what_follows() -> None:
    mark = ["<!-- c2o:table suite=s table=t -->", "<!-- c2o:end -->"]
    lines = ["~~~", *mark, "```", "~~~", "```md", *mark, "~~~", "```", *mark, "    " + mark[0]]
    (place,) = find_places(lines, "f.md")
    assert (place.first, place.name) == (10, "f.md:11")


def test_rules_of_every_alignment() -> None:
    assert all(map(is_rule, ("|---|---:|", "| :-: | - |", "---|---", "|-|")))
    assert not any(map(is_rule, ("| a | b |", "", "|", "---")))
