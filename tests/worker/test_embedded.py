"""A household of real processes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from redis import Redis

from producer.errors import ConfigurationError
from tests.support.servers import ROOT, until
from worker.embedded import Household, Interrupted, PartEnded, free_port


def lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def pid_of(url: str) -> int:
    with Redis.from_url(url) as redis:
        return int(redis.info("server")["process_id"])


def test_redis_keeps_its_data_from_one_household_to_the_next(tmp_path: Path) -> None:
    with Household(tmp_path) as household:
        url = household.start_redis(free_port())
        pid = pid_of(url)
        with Redis.from_url(url, decode_responses=True) as redis:
            settings = redis.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind")
            redis.set("key", "value")
    assert not lives(pid)
    with Household(tmp_path) as household, Redis.from_url(household.start_redis(free_port())) as redis:
        assert redis.get("key") == b"value"

    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_a_directory_serves_one_household(tmp_path: Path) -> None:
    with Household(tmp_path) as household:
        pid = pid_of(household.start_redis(free_port()))
        with pytest.raises(ConfigurationError, match=rf"{tmp_path}: in use by process {pid}: "), Household(tmp_path):
            pass


def test_a_directory_stays_locked_while_its_server_lives(tmp_path: Path) -> None:
    """As after a household that was killed."""
    with Household(tmp_path) as household:
        household.start_redis(free_port())
        os.close(household._lock)
        household._lock = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(ConfigurationError), Household(tmp_path):
            pass


def test_a_part_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    with Household(tmp_path) as household:
        pid = pid_of(household.start_redis(free_port()))
        household.check()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PartEnded, match=rf"redis \({tmp_path}/redis.log: .*ended by itself: signal 9"):
            household.wait()


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with Household(tmp_path / "one") as one, Household(tmp_path / "two") as two:
        port = free_port()
        one.start_redis(port)
        with pytest.raises(PartEnded, match="redis"):
            two.start_redis(port)
        assert free_port(port) != port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_told_to_whoever_waits(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with Household(tmp_path) as household:
        signal.raise_signal(number)
        with pytest.raises(Interrupted):
            household.wait()
    assert signal.getsignal(number) is before


def test_the_sandbox_and_a_worker_start_and_end(tmp_path: Path) -> None:
    with Household(tmp_path, cwd=ROOT) as household:
        redis_url = household.start_redis(free_port())
        sandbox_url = household.start_sandbox(0)
        environ = {"REDIS_URL": redis_url, "SANDBOX_API_BASE": sandbox_url}
        worker = household.start_worker(environ, grace_s=5, logged=True)
        household.until_ready(worker)
        with urlopen(sandbox_url.removesuffix("/v1") + "/sandbox/log", timeout=5) as response:
            assert response.status == 200
    assert worker.status == "exit status 0"
    until(lambda: not lives(worker.process.pid))
