"""`understudy demo` on a machine with nothing set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import ROOT

LIMIT_S = 40


def demo(directory: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", "demo", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_it_shows_a_job_that_fails_over(tmp_path: Path) -> None:
    done = demo(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    table = [line.split() for line in done.stdout.partition("completed")[2].splitlines() if line.strip()]
    rows = {row[1]: row for row in table if row[0] in ("1", "2", "3")}
    assert list(rows) == ["north/alder", "east/birch", "south/cedar"]
    assert rows["north/alder"][3:5] == ["rate_limited", "429"]
    assert rows["east/birch"][3] in ("connection", "cut")
    assert rows["south/cedar"][3:5] == ["answered", "200"]
    assert "south/cedar   committed" in done.stdout
    assert "in use: north 0, east 0, south 0" in done.stdout
    assert "for alder (rate limit)" in done.stdout
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_takes_nothing_from_its_users_settings_and_speaks_json(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://127.0.0.1:1/0", "UNDERSTUDY_CONFIG": "/nowhere", "OPENAI_API_KEY": ""}
    done = demo(tmp_path, "--json", **environ)

    assert done.returncode == 0, done.stderr
    moments = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [moment["type"] for moment in moments]
    assert kinds[:4] == ["started", "started", "started", "submitted"]
    assert kinds.index("committed") > kinds.index("attempt")
    assert kinds[-2:] == ["completed", "credentials"]
    assert "".join(each["text"] for each in moments if each["type"] == "delta") == moments[-2]["result"]["text"]
