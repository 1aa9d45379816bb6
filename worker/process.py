"""This process's engine: made on first use, so that a forked child makes its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from worker.engine import Engine

_lock = threading.Lock()
_make: Callable[[], Engine] | None = None
_engine: Engine | None = None
_made_in: int | None = None


def prepare(make: Callable[[], Engine]) -> None:
    """How an engine is made, once the configuration is known."""
    global _make  # one process, one engine
    _make = make


def engine() -> Engine:
    """The running engine of this process."""
    global _engine, _made_in
    with _lock:
        if _engine is None or _made_in != os.getpid():
            assert _make is not None, "jobs run in a worker: celery -A worker worker"
            _engine, _made_in = _make(), os.getpid()
            _engine.start()
        return _engine


def drain(*, at_once: bool) -> None:
    """Claim nothing more; hand back what has not ended when the grace period is over, or at once."""
    if _engine is not None and _made_in == os.getpid():
        _engine.drain(at_once=at_once)


def stop() -> None:
    global _engine
    with _lock:
        if _engine is not None and _made_in == os.getpid():
            _engine.stop()
            _engine = None
