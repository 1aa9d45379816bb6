"""`celery -A worker worker`, `celery -A worker flower`: the only module here with effects at import."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from celery import signals
from kombu.exceptions import ChannelError

from producer.app import app
from producer.connection import connect
from producer.errors import ConfigurationError
from producer.keys import TASK_COMPLETION
from producer.settings import Place, checked, read_file, speaks_redis
from worker import process
from worker.config import Config, WorkerSettings
from worker.engine import Engine
from worker.task import RunCompletion

POOL = "worker.pool:LoopPool"


def _worker_settings() -> dict[str, Any]:
    prefork = _asks_for_prefork(sys.argv)
    return {
        "worker_pool": "prefork" if prefork else POOL,
        "worker_concurrency": None if prefork else _concurrency(os.environ),
        "worker_consumer": "worker.consumer:UnhurriedConsumer",
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "task_acks_late": False,
        "task_track_started": False,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "redis_max_connections": 1,  # of the result backend
    }


def _asks_for_prefork(argv: Sequence[str]) -> bool:
    """Celery cannot tell `-P prefork` from its default, so the command line is asked."""
    given = zip(argv, [*argv[1:], ""], strict=True)
    spelled = ("-Pprefork", "--pool=prefork")
    return any(word in spelled or (word in ("-P", "--pool") and then == "prefork") for word, then in given)


def _concurrency(environ: Mapping[str, str]) -> int:
    """Read before the configuration as a whole, whose secrets Flower and `inspect` need not have."""
    problems: list[str] = []
    file, table = read_file(environ)
    settings = checked(WorkerSettings, Place(file).at("worker"), table.get("worker", {}), problems)
    return (settings or _load_or_stop(environ).worker).concurrency


def _load_or_stop(environ: Mapping[str, str]) -> Config:
    """The configuration; or every fault of it on stderr, and exit 2."""
    try:
        return Config.load(environ)
    except ConfigurationError as error:
        _stop(error)


def _stop(error: ConfigurationError) -> NoReturn:
    for problem in error.problems:
        print(problem, file=sys.stderr)
    sys.exit(2)


def _emptiness(broker_url: str) -> Callable[[str], bool]:
    """What tells whether the broker holds no doorbell of a queue. At a Redis one connection serves for it."""
    if not speaks_redis(broker_url):
        return _declared_empty
    client = connect(broker_url)
    return lambda queue: client.llen(queue) == 0


def _declared_empty(queue: str) -> bool:
    with app.pool.acquire(block=True) as connection, connection.channel() as channel:
        try:
            return bool(channel.queue_declare(queue, passive=True).message_count == 0)
        except ChannelError:  # nothing was ever sent to it
            return True


def _registered() -> RunCompletion:
    """The task's body, in place of the producer's task, which has none. Reads the settings."""
    app.add_defaults(_worker_settings)
    try:
        app.tasks.unregister(TASK_COMPLETION)
        return cast(RunCompletion, app.register_task(RunCompletion()))
    except ConfigurationError as error:
        _load_or_stop(os.environ)  # which finds the worker's faults as well
        _stop(error)


task = _registered()


@signals.celeryd_init.connect
def _prepare(**_: Any) -> None:
    config = _load_or_stop(os.environ)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every call
    is_empty = _emptiness(config.settings.broker_url)
    process.prepare(lambda: Engine(config, task.ring, is_empty))


@signals.worker_init.connect
def _spare_gossip(sender: Any, **_: Any) -> None:
    """Workers have nothing to tell each other: the journal knows. Saves two connections and a second at start."""
    sender.options.update(without_gossip=True, without_mingle=True)


@signals.worker_shutting_down.connect
def _drain(how: str, **_: Any) -> None:
    process.drain(at_once=how == "Cold")


@signals.worker_process_init.connect
def _start_child(**_: Any) -> None:
    process.engine()
