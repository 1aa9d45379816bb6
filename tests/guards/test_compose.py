"""docker-compose.yml gives a worker the time it asks for, and shows no secret."""

from __future__ import annotations

import re

from tests.guards.tree import ROOT
from worker.config import WorkerSettings

COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")


def test_a_worker_may_end_before_it_is_killed() -> None:
    (granted_s,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    assert int(granted_s) > WorkerSettings().grace_s


def test_every_password_comes_from_the_environment() -> None:
    assert re.findall(r"(?i)^\s*\w*(?:auth|password|secret|key)\w*: (?!\$\{)(.*)$", COMPOSE, re.MULTILINE) == []
