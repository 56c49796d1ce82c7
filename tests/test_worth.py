"""Is the ring worth it: both ops and the tail, length by length."""

import json

import pytest
from click.testing import CliRunner
from specs import raw

from tensix_sim.analysis import Worth, worth, worth_from
from tensix_sim.analysis.worth import measure, plain
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.simulation import simulate

SPEC = raw(ring_size=4, heads=1, grid=[4, 1])


def test_times_are_those_of_the_runs() -> None:
    """Of the slowest device, of its tail, and of plain SDPA of the same inputs and configs."""
    spec = load_spec(SPEC)
    found = measure(spec)
    ring, alone = simulate(SPEC | {"numerics": "off"}, gather=True), simulate(plain(spec))
    assert found.ring_us == max(d.duration_us for d in ring.devices)
    assert found.tail_us == ring.tail.duration_us
    assert found.plain_us == alone.devices[0].duration_us
    assert alone.spec.op == "sdpa"
    assert (alone.spec.inputs, alone.spec.program_config) == (spec.inputs, spec.program_config)
    assert found.gain == found.plain_us / (found.ring_us + found.tail_us)


def test_worth_from_is_where_the_ring_stays_ahead() -> None:
    """A short length at which it happens to win does not count, nor one that could not be compared."""
    lost, won = Worth(1024, 1.0, 1.0, 1.0), Worth(2048, 3.0, 1.0, 1.0)
    assert worth_from([lost, won]) == 2048
    assert worth_from([won, Worth(4096, 1.0, 1.0, 1.0)]) is None
    assert worth_from([won, Worth(4096, problem="illegal"), Worth(512, 9.0, 1.0, 1.0)]) == 512
    assert worth_from([]) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"op": "sdpa"}, "leaves nothing to gather"),
        ({"paged_kv": {"block_size": 64}, "chunk_start_idx": 64}, "no plain sdpa beside it"),
        ({"board": "n150"}, "no Ethernet links"),
    ],
)
def test_what_cannot_be_compared_says_why(change, says) -> None:
    """A spec without a tail, or without a plain counterpart."""
    with pytest.raises(ValueError, match=says):
        worth([load_spec(SPEC | change)])


def test_compare_answers_from_which_length_on(tmp_path) -> None:
    """A row a length, with the reason at one that is illegal, the answer, and the same in JSON."""
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    args = ["compare", str(tmp_path / "spec.yaml"), "--seq-lens", "256,2048", "--jobs", "1", "--json", str(tmp_path / "out.json")]
    found = CliRunner().invoke(main, args)
    assert found.exit_code == 0, found.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert [w["seq_len"] for w in told["lengths"]] == [256, 2048]
    assert told["lengths"][0]["problem"]
    assert "256 tokens: program_config.q_chunk_size = 64" in found.output
    assert told["worth_from"] == (2048 if told["lengths"][1]["gain"] > 1 else None)
    assert "ring-distributed SDPA is " in found.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "two or more"),
        (["--preset", "llama70b-galaxy"], "need --seq-lens"),
        (["--seq-lens", "1..2", "--call", "1"], "takes no RUN, --html, --call"),
        (["--seq-lens", "some"], "--seq-lens 'some'"),
    ],
)
def test_usage(args, says) -> None:
    """Options that belong to the other kind of comparison are refused."""
    found = CliRunner().invoke(main, ["compare", *args])
    assert found.exit_code == 2
    assert says in found.output
