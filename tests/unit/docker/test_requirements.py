"""What the images install resolves for their Python, 3.12, from the package index."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
SERVER_REQUIREMENTS = ROOT / "docker" / "requirements-server.txt"


def resolved_versions(requirements: Path, tmp_path: Path) -> dict[str, str]:
    """What pip would install into an empty Python 3.12, version by name; nothing is installed."""
    report = tmp_path / "report.json"
    # fmt: off
    resolved = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--retries", "1",
            "--target", str(tmp_path / "empty"), "--python-version", "3.12", "--only-binary", ":all:",
            "--report", str(report), "--requirement", str(requirements),
        ],
        capture_output=True,
        text=True,
    )
    # fmt: on
    if resolved.returncode != 0 and "after connection broken" in resolved.stderr:
        pytest.skip("the package index cannot be reached")
    assert resolved.returncode == 0, resolved.stderr
    packages = [package["metadata"] for package in json.loads(report.read_text())["install"]]
    return {package["name"].lower(): package["version"] for package in packages}


def test_server_requirements_resolve_for_python_3_12(tmp_path: Path) -> None:
    versions = resolved_versions(SERVER_REQUIREMENTS, tmp_path)

    assert sorted(versions) == [
        "cupy-cuda13x", "cykooz-resizer", "fastrlock", "numpy", "nvidia-cuda-nvrtc", "nvidia-nvjpeg", "pillow",
    ]  # fmt: skip
    assert versions["numpy"].startswith("1.")
    for name in ("cykooz-resizer", "pillow"):
        assert f"{name}=={versions[name]}" in SERVER_REQUIREMENTS.read_text()


def test_package_in_the_server_image_keeps_numpy_1_and_needs_no_torch(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(SERVER_REQUIREMENTS.read_text() + "\n".join(project["dependencies"]))

    versions = resolved_versions(requirements, tmp_path)

    assert versions["numpy"].startswith("1.")
    assert "tritonclient" in versions  # whose ModelConfig the preflight reads configs with
    assert not {"torch", "onnx", "onnxruntime"} & set(versions)


@pytest.mark.slow
def test_builder_requirements_resolve_for_python_3_12(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(project["dependencies"] + project["optional-dependencies"]["build"]))

    versions = resolved_versions(requirements, tmp_path)

    assert versions["numpy"].startswith("1.")
    assert {"onnx", "torch", "tritonclient"} <= set(versions)
    assert "tensorrt" not in versions  # it is the image's


def test_server_requirements_are_what_the_preprocess_model_imports() -> None:
    own = ROOT / "model_repository" / "preprocess" / "1"
    imported: set[str] = set()
    for source in own.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module).split(".")[0])

    foreign = imported - set(sys.stdlib_module_names) - {"triton_python_backend_utils"}  # Triton's own
    assert foreign == {"cykooz_resizer", "numpy", "PIL"}


def test_server_requirements_name_the_packages_that_a_gpu_is_opened_with() -> None:
    source = ROOT / "model_repository" / "preprocess" / "1" / "cuda_device.py"
    assignments = [node for node in ast.parse(source.read_text()).body if isinstance(node, ast.Assign)]
    packages = next(ast.literal_eval(node.value) for node in assignments if ast.unparse(node.targets[0]) == "PACKAGES")

    required = SERVER_REQUIREMENTS.read_text()

    assert set(packages) == {"cupy"}
    assert [package for package in packages.values() if f"\n{package}==" not in required] == []
