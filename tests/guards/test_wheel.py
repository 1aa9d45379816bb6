"""What is installed is whole: every script, and the mark that the packages are typed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.guards.tree import ROOT, files

NEEDED = [path for path in files("producer", "worker") if path.suffix in {".py", ".lua"} or path.name == "py.typed"]


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds it, is not here")
def test_the_wheel_holds_every_module_script_and_type_mark(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, timeout=100)
    (wheel,) = tmp_path.glob("understudy-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {str(path.relative_to(ROOT)) for path in NEEDED} <= held
    assert {entry.partition("/")[0] for entry in held} - {"producer", "worker"} == {
        f"{wheel.name.partition('-py3')[0]}.dist-info"
    }
