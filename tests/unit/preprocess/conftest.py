"""The preprocessing functions, imported from the model's folder, where no package leads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

MODULE = Path(__file__).parents[3] / "model_repository" / "preprocess" / "1" / "image_preprocessing.py"


@pytest.fixture(scope="session")
def preprocessing() -> ModuleType:
    specification = importlib.util.spec_from_file_location("image_preprocessing", MODULE)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
