"""The `_BASE_` merge against Detectron2's own, and its messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2o_evidence.errors import SuiteError
from c2o_evidence.model_config import config_digest, deep_merge, flat, merge_config
from c2o_evidence.yaml_file import parse_yaml

LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text("ab", max_size=3)
TREES = st.recursive(
    LEAVES | st.lists(LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("ABC"), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("ABC"), TREES, max_size=3)


def test_base_first_then_own_keys_then_options(repo):
    repo.write("configs/models/deep/own.yaml", "_BASE_: ../student.yaml\nMODEL: {WIDTH: 32}\nNEW: [1, 2]\n")
    config = merge_config("configs/models/deep/own.yaml", repo.root, {"SOLVER.MAX_ITER": 3, "A.B.C": "x"})
    assert config == {
        "MODEL": {"WIDTH": 32, "DEPTH": 3, "DISTILL": True},
        "SOLVER": {"MAX_ITER": 3, "BASE_LR": 0.002},
        "NEW": [1, 2],
        "A": {"B": {"C": "x"}},
    }


def test_agrees_with_detectron2(repo):
    fvcore = pytest.importorskip("fvcore.common.config")
    repo.write("configs/models/a.yaml", "X: 1\nY: {P: [1, 2], Q: yes}\nZ: text\n")
    repo.write("configs/models/b.yaml", "_BASE_: a.yaml\nY: {P: [3], R: null}\nZ: other\nM: {N: 1}\n")
    repo.write("configs/models/c.yaml", "_BASE_: [a.yaml, b.yaml]\nX: 2\nY: {Q: no}\nM: {O: 2}\n")
    path = repo.root / "configs/models/c.yaml"
    assert merge_config("configs/models/c.yaml", repo.root) == fvcore.CfgNode.load_yaml_with_base(str(path))


@given(base=MAPPINGS, over=MAPPINGS)
def test_deep_merge_laws(base, over):
    merged = deep_merge(base, over)
    assert deep_merge(merged, over) == merged
    assert deep_merge(base, {}) == base and deep_merge({}, over) == over
    assert merged.keys() == base.keys() | over.keys()
    for key, value in over.items():
        if not (isinstance(value, dict) and isinstance(base.get(key), dict)):
            assert merged[key] == value


def test_types_are_part_of_the_digest():
    values = [1, 1.0, True, "1", [1], None]
    assert len({config_digest({"A": value}) for value in values}) == len(values)


def test_files_that_cannot_be_merged(repo):
    cases = [
        (
            "_BASE_: none.yaml\n",
            "configs/models/x.yaml: _BASE_: configs/models/none.yaml does not exist; correct",
        ),
        (
            "_BASE_: x.yaml\n",
            "configs/models/x.yaml: _BASE_: forms a cycle configs/models/x.yaml -> configs/models/x",
        ),
        ("_BASE_: ../../../etc.yaml\n", "configs/models/x.yaml: _BASE_: "),
        ("_BASE_: 3\n", "configs/models/x.yaml: _BASE_: 3 is not a path or a list of paths; correct it"),
        (
            "_BASE_: base.yaml\nMODEL: 3\n",
            "configs/models/x.yaml: MODEL: puts a value over a mapping of its base",
        ),
        (
            "_BASE_: base.yaml\nMODEL: {WIDTH: {A: 1}}\n",
            "configs/models/x.yaml: MODEL.WIDTH: puts a mapping over a value of its base",
        ),
        ("[1, 2]\n", "configs/models/x.yaml: holds list, not a mapping of keys"),
        ("A: 1\n B: 2\n", "configs/models/x.yaml:2: mapping values are not allowed here; correct this line"),
        ("A: 1\nA: 2\n", "configs/models/x.yaml:2: the key 'A' is given twice; correct this line"),
        ("1: a\n", "configs/models/x.yaml:1: the key 1 is not text; write it in quotes; correct this line"),
        (
            "A: 2020-01-01\n",
            "configs/models/x.yaml: A: datetime.date(2020, 1, 1) is a date; write text in quotes",
        ),
        ("A: .nan\n", "configs/models/x.yaml: A: nan is not a usable number"),
        (
            "A: !!python/object/apply:os.getcwd []\n",
            "configs/models/x.yaml:1: could not determine a constructor",
        ),
        ("A: &a [*a]\n", "configs/models/x.yaml"),
    ]
    for text, message in cases:
        repo.write("configs/models/x.yaml", text)
        with pytest.raises(SuiteError) as caught:
            merge_config("configs/models/x.yaml", repo.root)
        assert str(caught.value).startswith(message), str(caught.value)
    with pytest.raises(SuiteError, match="is outside the repository; copy the file into it"):
        merge_config("../x.yaml", repo.root)
    with pytest.raises(SuiteError, match="^configs/models/none.yaml: does not exist"):
        merge_config("configs/models/none.yaml", repo.root)


def test_a_link_out_of_the_repository_is_refused(repo, tmp_path):
    (tmp_path / "secret.yaml").write_text("A: 1\n")
    (repo.root / "configs/models/link.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(SuiteError, match="link.yaml is outside the repository"):
        merge_config("configs/models/link.yaml", repo.root)


def test_options_that_do_not_fit(repo):
    with pytest.raises(SuiteError, match=r"base.yaml: opts.MODEL.WIDTH.X: MODEL.WIDTH is the value 64, not a mapping"):
        merge_config("configs/models/base.yaml", repo.root, {"MODEL.WIDTH.X": 1})
    with pytest.raises(SuiteError, match=r"base.yaml: opts.MODEL: 1 would replace a whole mapping"):
        merge_config("configs/models/base.yaml", repo.root, {"MODEL": 1})
    with pytest.raises(SuiteError, match=r"base.yaml: opts.A..B: is not a key"):
        merge_config("configs/models/base.yaml", repo.root, {"A..B": 1})


def test_a_configuration_by_dotted_keys():
    tree = {"A": {"B": {"C": 1}, "D": [1, 2]}, "E": {}, "F": None}
    assert flat(tree) == {"A.B.C": 1, "A.D": [1, 2], "E": {}, "F": None}
    assert flat("no mapping") == {}


def test_aliases_cannot_blow_up_a_file():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SuiteError, match="bomb.yaml: is too large or nested too deeply; write it without aliases"):
        parse_yaml("\n".join(lines), "bomb.yaml")


def test_numbers_are_read_as_numbers():
    assert parse_yaml("[1e-3, 1E5, -2e+1, 1.5e3, 2e, e3, 1_0]", "x") == [
        0.001,
        1e5,
        -20.0,
        1500.0,
        "2e",
        "e3",
        10,
    ]
