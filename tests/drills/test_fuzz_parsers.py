"""Every parser on damaged files: it reads them or refuses them with an error of its own that names the file."""

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2o_evidence.errors import EvidenceError
from tests.drills.parsers import PARSERS, Parser
from tests.drills.sandbox import TALLY

MUTATIONS = 120  # of each parser, seeded by its name
EXAMPLES = 25  # of each parser, found by hypothesis
SECONDS = 30  # for one input
GROWTH_MB = 500  # of this process over all inputs of one parser
TOKENS = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b"\t",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"- ",
        b"? ",
        b"&a ",
        b"*a",
    ),
    *(
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-1",
        b"9" * 5000,
        b"null",
        b"true",
        b'"\\ud800"',
        b"\\",
        b"!!python/none x",
        b"<<: ",
    ),
    *(b"[" * 2000, b"\x1b[31m", "²".encode(), "\u202e".encode(), b"../", b"=1+1", b"!!bool x", b'!!float ""', b".inf"),
)


class Hangs(BaseException):
    """No Exception, and no OSError as TimeoutError is one: a parser must not catch it."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise Hangs(f"longer than {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four faults: bits, cuts, insertions, repeated and moved slices."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        other = min(len(data), place + rng.randint(0, 40))
        match rng.randrange(7):
            case 0 if data:
                place = min(place, len(data) - 1)
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            case 1:
                data = data[:place]
            case 2:
                data = data[:place] + rng.choice(TOKENS) + data[place:]
            case 3:
                data = data[:other] + data[place:]
            case 4:
                data = data[:place] + data[other:]
            case 5:
                data = data[:place] + rng.choice(TOKENS) + data[other:]
            case _:
                data = data[:place] + rng.randbytes(rng.randint(1, 20)) + data[place:]
    return data


def feed(parser: Parser, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    TALLY.fuzzed[parser.name] = TALLY.fuzzed.get(parser.name, 0) + 1
    try:
        with within(SECONDS):
            parser.read(path)
    except EvidenceError as error:
        assert parser.raises, f"{parser.name} is to raise nothing, and raised {error!r}"
        names = (path.name, path.stem.replace("_", " "), Path(parser.place).stem)
        assert any(name in str(error) for name in names), f"does not name its file: {error}"


@pytest.mark.parametrize("parser", PARSERS, ids=[parser.name for parser in PARSERS])
def test_damaged_files_are_read_or_refused(
    parser: Parser, tmp_path: Path, record_property: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in" / parser.place
    path.parent.mkdir(parents=True)
    valid = parser.valid()
    path.write_bytes(valid)
    parser.read(path)  # the valid file is read, or else nothing here is tested
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = random.Random(parser.name)
    for _ in range(MUTATIONS):
        feed(parser, path, mutate(valid, rng))

    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=400), st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))))
    def arbitrary(data: bytes) -> None:
        feed(parser, path, data)

    arbitrary()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < GROWTH_MB, f"{parser.name}: {grown:.0f} MB"
    record_property("fuzz_examples", TALLY.fuzzed[parser.name])  # type: ignore[operator]
