from worker.sandbox import log as log_module
from worker.sandbox.log import Log


def test_filters():
    log = Log()
    for key, model in [("a", "x"), ("b", "x"), ("a", "y")]:
        log.begin(key, model, False, 0.0, 1)
    assert [call.seq for call in log.select(key="a")] == [1, 3]
    assert [call.seq for call in log.select(model="x")] == [1, 2]
    assert [call.seq for call in log.select(since=2)] == [3]
    log.clear()
    assert not list(log.select())
    assert log.begin("a", "x", False, 0.0, 1).seq == 4


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(log_module, "MOST_CALLS", 3)
    log = Log()
    for _ in range(5):
        log.begin("a", "m" * 5_000, False, 0.0, 1)
    assert [(call.seq, len(call.model)) for call in log.select()] == [(3, 1000), (4, 1000), (5, 1000)]
