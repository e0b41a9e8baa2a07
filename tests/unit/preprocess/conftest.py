"""The preprocessing functions, imported from the model's folder, where no package leads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "model_repository" / "preprocess" / "1"


@pytest.fixture(scope="session")
def preprocessing() -> ModuleType:
    return load("image_preprocessing")


@pytest.fixture(scope="session")
def large_images() -> ModuleType:
    return load("large_images")


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
