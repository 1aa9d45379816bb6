import pytest

from worker.sandbox.keys import Key, Keys, Limits, parse_key
from worker.sandbox.options import BadOption


def test_the_name_brings_the_limits():
    name, limits = parse_key("team-a?slots=2&rpm=60&tpm=1000&window=fixed&window_s=5&status=403")
    assert (name, limits) == ("team-a", Limits(2, 60, 1000, "fixed", 5.0, 403))


@pytest.mark.parametrize("token", ["k?slots=x", "k?window=odd", "k?window_s=0", "k?status=299", "k?nosuch=1"])
def test_bad_limits(token):
    with pytest.raises(BadOption):
        parse_key(token)


def test_slots():
    key, limits = Key(), Limits(slots=1)
    charge = key.admit(limits, 0, 0)
    refusal = key.verdict(limits, 0, 1)
    assert refusal is not None
    assert refusal.failure.code == "concurrency_limit_exceeded"
    key.release(charge, 0, 2)
    assert key.verdict(limits, 0, 2) is None
    assert key.counts()["peak_in_flight"] == 1


@pytest.mark.parametrize(
    ("limits", "retry_after"), [(Limits(rpm=2), "50"), (Limits(rpm=2, window="fixed", window_s=20.5), "11")]
)
def test_requests(limits, retry_after):
    key = Key()
    for now_s in (0, 5):
        assert key.verdict(limits, 0, now_s) is None
        key.admit(limits, 0, now_s)
    refusal = key.verdict(limits, 0, 10)
    assert refusal is not None
    assert refusal.headers["Retry-After"] == retry_after
    assert refusal.headers["x-ratelimit-remaining-requests"] == "0"
    assert key.verdict(limits, 0, 10 + int(retry_after)) is None


def test_tokens_are_reserved_and_settled():
    key, limits = Key(), Limits(tpm=100)
    charge = key.admit(limits, 90, 0)
    assert key.verdict(limits, 20, 1) is not None
    key.release(charge, 30, 2)
    assert key.verdict(limits, 70, 2) is None
    assert key.headers(limits, 2) == {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "70",
        "x-ratelimit-reset-tokens": "58s",
    }


@pytest.mark.parametrize(("window_s", "reset"), [(0.85, "850ms"), (12.5, "12.5s"), (360.0, "6m0s")])
def test_reset_is_written_as_openai_does(window_s, reset):
    key, limits = Key(), Limits(rpm=5, window_s=window_s)
    key.verdict(limits, 0, 0)
    key.admit(limits, 0, 0)
    assert key.headers(limits, 0)["x-ratelimit-reset-requests"] == reset


def test_clearing_counts_keeps_what_is_in_flight():
    keys = Keys()
    keys.find("idle").calls = 3
    keys.find("busy").admit(Limits(), 0, 0)
    keys.clear_counts()
    assert list(keys.by_name) == ["busy"]
    assert keys.find("busy").counts()["peak_in_flight"] == 1
