from dataclasses import dataclass

import pytest

from worker.sandbox.options import BadOption, given_options, option, read_options, split_name


@dataclass(frozen=True)
class Sample:
    count: int = option(3, "a count")
    wait_ms: float = option(0.0, "a time")
    loud: bool = option(False, "a flag")
    kind: str = option("a", "a choice", choices=("a", "b"))
    word: str = option("", "a word")


ALL = {"count": 3, "wait_ms": 0.0, "loud": False, "kind": "a", "word": ""}


def test_reads_each_type():
    given = given_options("count=5&wait_ms=2.5&loud=1&kind=b&word=a%26b+c")
    assert read_options(Sample, given, ALL) == Sample(5, 2.5, True, "b", "a&b c")


def test_defaults_are_the_caller_s():
    assert read_options(Sample, {}, {"count": 9}) == Sample(count=9)


@pytest.mark.parametrize(
    "query",
    ["count=x", "count=-1", "wait_ms=inf", "wait_ms=nan", "loud=yes", "kind=c", "nosuch=1", "count", "=&"],
)
def test_refuses_what_does_not_fit(query):
    with pytest.raises(BadOption):
        read_options(Sample, given_options(query), ALL)


def test_an_option_that_may_not_be_given_here_is_unknown():
    with pytest.raises(BadOption, match="options are: count"):
        read_options(Sample, {"word": "x"}, {"count": 1})


def test_split_name():
    assert split_name("cut?after=3?") == ("cut", "after=3?")
    assert split_name("cut") == ("cut", "")
