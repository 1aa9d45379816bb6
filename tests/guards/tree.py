"""The project's own files, as the guards see them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "benchmarks", "docs", "examples", "producer", "tests", "worker")
EFFECTS_AT_IMPORT = {"worker.celery"}


def files(*folders: str, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """Every file in these folders, or only those with one of the suffixes."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts and (not suffixes or path.suffix in suffixes)]


def texts() -> dict[Path, str]:
    """Every text file of the project, by its path in it."""
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name not in (".git", ".env")]
    return {path.relative_to(ROOT): path.read_text("utf-8", "replace") for path in [*sorted(top), *files(*FOLDERS)]}


def modules(package: str) -> Iterator[ModuleType]:
    """The package and all that is in it, imported, but for what acts at import."""
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if found.name not in EFFECTS_AT_IMPORT:
            yield importlib.import_module(found.name)
