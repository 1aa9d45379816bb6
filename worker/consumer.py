"""Celery's consumer, which tells Flower what happens a few times a second rather than at each event."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

FLUSH_S = 0.25


class UnhurriedConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Sending each job's events by themselves was measured at a fifth of a streaming worker's CPU."""

    _flushing: Any = None

    def on_send_event_buffered(self) -> None:
        """Nothing: the timer sends what is buffered. Without a loop there is none, and nothing is buffered."""

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        if self._flushing is not None:  # of the connection before
            self._flushing.cancel()
        self._flushing = hub.call_repeatedly(FLUSH_S, self._flush_events)
