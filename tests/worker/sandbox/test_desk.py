import pytest

from worker.sandbox.desk import Desk
from worker.sandbox.options import BadOption
from worker.sandbox.steps import Refusal
from worker.sandbox.wire import Ask


def visit(desk, model="503?times=1", token="k"):
    """One call, all of it: whether it was answered well."""
    seen = desk.receive(token, Ask(model), port=1)
    refusal = seen.refusal or desk.admit(seen)
    steps = [refusal] if refusal else list(desk.steps(seen))
    refused = isinstance(steps[-1], Refusal)
    seen.close("refused" if refused else "finished")
    return not refused


def test_times_are_counted_per_key_or_per_model():
    desk = Desk()
    assert [visit(desk, token=key) for key in "aabb"] == [False, True, False, True]
    assert [visit(desk, "503?times=1&scope=model", key) for key in "aabb"] == [False, True, True, True]


def test_a_redirect_and_its_end():
    desk = Desk()
    desk.redirect("gpt-main", "503?times=1")
    assert [visit(desk, "gpt-main"), visit(desk, "gpt-main")] == [False, True]
    desk.redirect("gpt-main", "503?times=1")
    assert not visit(desk, "gpt-main")
    del desk.redirects["gpt-main"]
    assert not visit(desk, "gpt-main")
    with pytest.raises(BadOption):
        desk.redirect("gpt-main", "nosuch")


def test_clearing_starts_the_counts_anew():
    desk = Desk()
    assert [visit(desk), visit(desk)] == [False, True]
    desk.clear()
    assert not visit(desk)
    assert desk.keys.find("k").counts()["calls"] == 1


def test_the_first_end_is_the_end():
    desk = Desk()
    seen = desk.receive("k?slots=1", Ask("answer"), port=1)
    assert desk.admit(seen) is None
    seen.close("finished")
    seen.close("client_closed")
    assert (seen.call.end, seen.key.in_flight) == ("finished", 0)


@pytest.mark.parametrize(("token", "status"), [("k?nosuch=1", 401), ("k?status=403", 403)])
def test_keys_that_are_refused_at_once(token, status):
    seen = Desk().receive(token, Ask("answer"), port=1)
    assert seen.refusal is not None
    assert seen.refusal.status == status
    assert seen.call.key == token.partition("?")[0]
