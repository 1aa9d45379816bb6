"""C6: a service imports the producing side without the worker's dependencies, settings or a connection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

from tests.guards.tree import ROOT

PREAMBLE = """
import socket, sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)

def refuse(*_):
    raise AssertionError("a connection at import")

sys.meta_path.insert(0, Absent())
socket.socket.connect = socket.socket.connect_ex = refuse
"""

BASE = {"celery", "click", "kombu", "pydantic", "redis", "rich"}


def dependencies(extra: str | None = None) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {re.split(r"[\[>=<; ]", line)[0].replace("-", "_") for line in lines}


def run_without_worker(program: str, **environ: str) -> str:
    absent = dependencies("worker") | {"worker", "flower"}
    clean = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_URL", "_BASE"))}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE.format(absent=absent) + program],
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_c6_the_producer_needs_its_own_dependencies_alone() -> None:
    assert dependencies() == BASE
    assert run_without_worker("from producer import *; print(attach.__module__)") == "producer.handle"


def test_c6_an_import_reads_no_settings_and_makes_no_connection() -> None:
    wrong = {"REDIS_URL": "no url at all", "UNDERSTUDY_CONFIG": "not-there.toml", "UNDERSTUDY_NAMESPACE": "{}"}
    assert run_without_worker("import producer; print('imported')", **wrong) == "imported"


def test_c6_the_first_use_reads_them_and_names_each_fault() -> None:
    program = """
from producer import ConfigurationError, submit_completion
try:
    submit_completion.delay(model="chat", messages=[{"role": "user", "content": "Hi"}])
except ConfigurationError as error:
    print(error)
"""
    told = run_without_worker(program, REDIS_URL="no url at all", UNDERSTUDY_NAMESPACE="{}")
    assert [line.partition(":")[0] for line in told.splitlines()] == ["REDIS_URL", "UNDERSTUDY_NAMESPACE"]


def test_c6_a_request_is_checked_before_anything_is_reached() -> None:
    program = """
from producer import InvalidRequest, submit_completion
try:
    submit_completion.delay(model="chat", messages=[])
except InvalidRequest as error:
    print(error)
"""
    assert run_without_worker(program).startswith("messages:")
