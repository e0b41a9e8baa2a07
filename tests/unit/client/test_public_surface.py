from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.resources import files

import alexnet_client
import pytest
from alexnet_client import AsyncClassifier, Classifier

# Runs first in a fresh interpreter: whatever asks for one of these fails, as where they are not installed.
BLOCK = """
import sys
BLOCKED = {"torch", "torchvision", "PIL", "onnx", "onnxruntime", "cv2"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}")
sys.meta_path.insert(0, Blocker())
"""


def run_blocked(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", BLOCK + program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_is_sorted_and_names_what_is_there() -> None:
    # abbreviations first, as ruff sorts them
    assert alexnet_client.__all__ == sorted(alexnet_client.__all__, key=lambda name: (not name.isupper(), name))
    assert [name for name in alexnet_client.__all__ if not hasattr(alexnet_client, name)] == []


def test_package_says_that_it_is_typed() -> None:
    assert files("alexnet_client").joinpath("py.typed").is_file()


def test_import_needs_neither_grpc_nor_numpy_nor_an_image_library() -> None:
    heavy = "{'grpc', 'tritonclient', 'numpy', 'typer', 'rich', 'torch', 'PIL', 'onnx'}"
    assert run_blocked(f"import alexnet_client; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


def test_every_module_and_a_client_work_without_torch_pillow_and_onnx() -> None:
    program = """
import importlib, pkgutil, alexnet_client
names = [m.name for m in pkgutil.walk_packages(alexnet_client.__path__, "alexnet_client.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
alexnet_client.Classifier().close()
print(len(names) > 20, sorted(BLOCKED & set(sys.modules)))
"""
    assert run_blocked(program) == "True []\n"


METHODS = [
    "__init__",
    "classify",
    "classify_many",
    "embeddings",
    "embeddings_many",
    "labels",
    "status",
    "wait",
    "close",
]


@pytest.mark.parametrize("name", METHODS)
def test_async_method_takes_the_arguments_of_the_blocking_one(name: str) -> None:
    blocking = inspect.signature(getattr(Classifier, name)).parameters
    awaited = inspect.signature(getattr(AsyncClassifier, name)).parameters
    assert [(p.name, p.default, p.kind) for p in blocking.values()] == [
        (p.name, p.default, p.kind) for p in awaited.values()
    ]
