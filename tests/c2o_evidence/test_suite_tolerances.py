"""The `tolerances` of a suite: declared, kept in the bundle, part of no job's digest."""

import pytest

from c2o_evidence.errors import SuiteError
from c2o_evidence.suite import Tolerances, load_resolved_suite, load_suite

TOY = "configs/suites/toy.yaml"
SECTION = """\
tolerances:
  eval: {AP: 0.1, per_class: 0.5}
  train: {AP: 4, per_class: 10}
  train_mean: {AP: 1.5}
timing:"""
PARSED = Tolerances({"AP": 0.1, "per_class": 0.5}, {"AP": 4, "per_class": 10}, {"AP": 1.5})


def test_they_are_read_and_kept_in_the_resolved_suite(repo, tmp_path):
    repo.edit(TOY, "timing:", SECTION)
    suite = load_suite("toy", repo.root)
    assert suite.tolerances == PARSED
    (tmp_path / "suite.yaml").write_text(suite.to_yaml())
    assert load_resolved_suite(tmp_path / "suite.yaml").tolerances == PARSED
    assert load_suite("small", repo.root).tolerances == PARSED, "a suite that extends another has its tolerances"


def test_a_suite_without_them_has_none_and_the_bytes_it_had(repo):
    suite = load_suite("toy", repo.root)
    assert suite.tolerances is None and "tolerances" not in suite.to_yaml()


def test_they_are_part_of_no_digest_but_the_bundle_s(repo):
    def digests():
        suite = load_suite("toy", repo.root)
        jobs = [suite.recipe(*job).digest for job in suite.train_jobs]
        jobs += [suite.eval_digest(*job) for job in suite.eval_jobs]
        return [*jobs, suite.timing_digest(), suite.attention_digest(), suite.tables_digest()], suite.to_dict()

    before, resolved = digests()
    repo.edit(TOY, "timing:", SECTION)
    after, changed = digests()
    assert before == after
    assert changed == resolved | {"tolerances": vars(PARSED)}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("tolerances: {eval: {AP: -1}}", "tolerances.eval.AP: -1 is negative; use 0 or more"),
        ("tolerances: {eval: {AP: 101}}", "tolerances.eval.AP: 101 is out of range; use a value <= 100"),
        ("tolerances: {eval: {AP: a}}", "tolerances.eval.AP: 'a' is not a number"),
        ("tolerances: {eval: {perclass: 1}}", "tolerances.eval.perclass: unknown key; did you mean 'per_class'?"),
        ("tolerances: {evaluate: {AP: 1}}", "tolerances.evaluate: unknown key; did you mean"),
        (
            "tolerances: {eval: {AP: 2}, train: {AP: 1}}",
            "tolerances.eval.AP: 2 is more than the 1 of tolerances.train; what is trained again",
        ),
        (
            "tolerances: {train: {AP: 1}, train_mean: {AP: 2}}",
            "tolerances.train_mean.AP: 2 is more than the 1 of tolerances.train; a mean over runs",
        ),
        ("tolerances: {eval: {AP: 2}}", "tolerances.eval.AP: 2 is more than the 0 of tolerances.train"),
    ],
)
def test_a_wrong_section_is_named(repo, section, message):
    repo.edit(TOY, "timing:", f"{section}\ntiming:")
    with pytest.raises(SuiteError) as error:
        load_suite("toy", repo.root)
    assert f"{TOY}: {message}" in str(error.value)
