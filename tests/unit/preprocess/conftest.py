"""The preprocessing functions, imported from the model's folder, where no package leads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "model_repository" / "preprocess" / "1"


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Imports one of the files anew, by its name."""
    return loaded


@pytest.fixture(scope="session")
def preprocessing() -> ModuleType:
    return loaded("image_preprocessing")


@pytest.fixture(scope="session")
def large_images() -> ModuleType:
    return loaded("large_images")


def loaded(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
