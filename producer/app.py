"""The Celery app that services send with and workers run; configured on first use."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from producer.client import default_client
from producer.connection import kombu_options, kombu_url
from producer.keys import QUEUES
from producer.results import backend_url
from producer.settings import Settings, speaks_redis


def celery_settings(settings: Settings) -> dict[str, Any]:
    """What both sides must agree on."""
    queues = [settings.keys.queue(priority) for priority in QUEUES]
    return {
        "broker_url": kombu_url(settings.broker_url),
        "broker_transport_options": {
            **kombu_options(settings.broker_url),
            "queue_order_strategy": "priority",  # the interactive queue is drained first
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "max_connections": 64,
        },
        "result_backend": backend_url(kombu_url(settings.redis_url)),
        "result_backend_transport_options": kombu_options(settings.redis_url),
        "result_backend_thread_safe": True,
        "result_expires": settings.defaults.result_ttl_s,
        "task_queues": [_queue(name, settings.broker_url) for name in queues],
        "task_default_queue": queues[0],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2},
    }


def _queue(name: str, broker_url: str) -> Queue:
    """A queue of doorbells. On Redis they are not kept for an acknowledgement, which would cost as much as the rest of
    a delivery: one that is lost is rung again. RabbitMQ would then send a worker all there are, so there they are.
    """
    return Queue(name, Exchange(name, type="direct"), routing_key=name, no_ack=speaks_redis(broker_url))


app = Celery("understudy", set_as_current=False)
app.add_defaults(lambda: celery_settings(default_client().settings))
