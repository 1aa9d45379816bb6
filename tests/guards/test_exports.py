"""`producer` exports its whole public interface, and nothing by accident."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import producer
from producer import errors, events, result

CALLED = {"CompletionHandle", "attach", "submit_completion"}


def test_what_is_imported_is_what_is_exported() -> None:
    public = {name for name, value in vars(producer).items() if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(producer, name), ModuleType)}
    assert public - modules == set(producer.__all__)
    assert list(producer.__all__) == sorted(producer.__all__)
    assert set(producer.__all__) >= CALLED


@pytest.mark.parametrize("module", [errors, events, result], ids=lambda module: module.__name__)
def test_no_value_of_the_contract_is_left_out(module: ModuleType) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert defined <= set(producer.__all__)


def test_every_export_says_what_it_is() -> None:
    bare = [
        name for name in producer.__all__ if inspect.isclass(value := getattr(producer, name)) and not value.__doc__
    ]
    assert set(bare) <= {"Completed", "Failed", "Cancelled"}  # the three last events are named by the module
