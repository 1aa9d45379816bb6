import pytest

from worker.sandbox.answers import Options
from worker.sandbox.behaviours import BEHAVIOURS, SHARED, parse_model
from worker.sandbox.options import BadOption
from worker.sandbox.steps import Cut, Done, Pause, Refusal
from worker.sandbox.wire import Ask


def outcomes(model, calls):
    """`.` for each call that ends well, `x` for each that does not."""
    parsed = parse_model(model)
    lasts = [list(parsed.steps(Ask(model), number))[-1] for number in range(1, calls + 1)]
    return "".join("." if isinstance(last, Done) else "x" for last in lasts)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("cut", "xxxxxx"),
        ("cut?after=3&times=1", "x....."),
        ("cut?after_calls=2", "..xxxx"),
        ("503?after_calls=2&times=2", "..xx.."),
        ("503?after=2&times=2", "..xx.."),
        ("flaky", "xx...."),
        ("flaky?times=3&status=500", "xxx..."),
        ("silence?times=1", "x....."),
    ],
)
def test_which_calls_get_the_fault(model, expected):
    assert outcomes(model, 6) == expected


@pytest.mark.parametrize("name", [name for name in BEHAVIOURS if name not in {"answer", "echo"}])
def test_every_behaviour_answers_well_when_its_times_are_over(name):
    steps = list(parse_model(f"{name}?times=1&chunks=2").steps(Ask(name), 2))
    assert isinstance(steps[-1], Done)
    assert not any(isinstance(step, Pause | Cut | Refusal) for step in steps)


def test_a_good_answer_honours_answer_options_only():
    parsed = parse_model("slow?first_ms=500&every_ms=5&times=1")
    assert (parsed.options.first_ms, parsed.good.first_ms, parsed.good.every_ms) == (500, 0, 5)


def test_own_and_shared_options_exist():
    names = set(Options.__dataclass_fields__)
    assert set(SHARED) <= names
    for name, row in BEHAVIOURS.items():
        assert set(row.own) <= names, name


@pytest.mark.parametrize("model", ["nosuch", "answer?nosuch=1", "cut?after=x", "answer?after=1", "answer?chunks"])
def test_what_does_not_exist_is_named(model):
    with pytest.raises(BadOption, match="does not exist"):
        parse_model(model)
