import pytest

from worker.sandbox.window import Window


@pytest.mark.parametrize(("kind", "left_at_59", "left_at_60"), [("sliding", 2, 1), ("fixed", 2, 0)])
def test_what_leaves_and_when(kind, left_at_59, left_at_60):
    window = Window(kind, 60)
    window.charge(5, 0)
    window.charge(7, 30)
    window.forget(59.9)
    assert len(window.charges) == left_at_59
    window.forget(60)
    assert (len(window.charges), window.tokens) == (left_at_60, 7 * left_at_60)


@pytest.mark.parametrize(
    ("kind", "calls_over", "tokens_over", "wait_s"),
    [
        ("sliding", 1, 0, 20),
        ("sliding", 2, 0, 50),
        ("sliding", 1, 6, 50),
        ("sliding", 9, 0, 60),
        ("fixed", 2, 9, 20),
    ],
)
def test_wait(kind, calls_over, tokens_over, wait_s):
    window = Window(kind, 60)
    window.charge(5, 0)
    window.charge(5, 30)
    assert window.wait_s(calls_over, tokens_over, now_s=40) == wait_s


def test_settling_corrects_the_tokens_until_the_call_has_left():
    window = Window("sliding", 60)
    first, second = window.charge(10, 0), window.charge(10, 50)
    window.settle(second, 3, 55)
    assert window.tokens == 13
    window.settle(first, 99, 61)
    assert window.tokens == 3
