"""All that this package asks of TensorRT exists in the versions that it is meant for: 10's oldest and last, and 11.

The bindings' wheels import against libraries that export the nine functions they call, so no GPU and no TensorRT
is needed to look at their classes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

#: What plan_from_onnx.py, inference/plan_engine.py and insight/inspect_plan.py use.
USED = {
    "Builder": ["create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"],
    "NetworkDefinitionCreationFlag": ["STRONGLY_TYPED"],
    "OnnxParser": ["parse", "get_error", "num_errors"],
    "ParserError": ["desc", "node_name", "node_operator"],
    "IBuilderConfig": [
        "add_optimization_profile", "set_memory_pool_limit", "profiling_verbosity", "create_timing_cache",
        "set_timing_cache", "get_timing_cache", "progress_monitor", "set_flag", "clear_flag",
        "hardware_compatibility_level",
    ],
    "BuilderFlag": ["SPARSE_WEIGHTS", "TF32", "VERSION_COMPATIBLE"],
    "HardwareCompatibilityLevel": ["AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"],
    "MemoryPoolType": ["WORKSPACE"],
    "ProfilingVerbosity": ["DETAILED"],
    "ITimingCache": ["serialize"],
    "ILogger": ["log", "INTERNAL_ERROR", "ERROR", "WARNING"],
    "Logger": ["ERROR"],
    "IProgressMonitor": ["phase_start", "step_complete", "phase_finish"],
    "IOptimizationProfile": ["set_shape"],
    "INetworkDefinition": ["get_input"],
    "ITensor": ["name", "shape"],
    "Runtime": ["deserialize_cuda_engine", "engine_host_code_allowed"],
    "ICudaEngine": [
        "num_io_tensors", "get_tensor_name", "get_tensor_dtype", "get_tensor_shape", "get_tensor_profile_shape",
        "create_execution_context", "device_memory_size_v2", "create_engine_inspector", "num_layers", "num_aux_streams",
        "profiling_verbosity", "hardware_compatibility_level",
    ],
    "DataType": ["UINT8", "FLOAT"],
    "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
    "IExecutionContext": [
        "set_device_memory", "set_input_shape", "set_tensor_address", "execute_async_v3", "profiler",
    ],
    "EngineInspector": ["execution_context", "get_engine_information"],
    "LayerInformationFormat": ["JSON"],
    "IProfiler": ["report_layer_time"],
}  # fmt: skip

FUNCTIONS = [
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getNvOnnxParserVersion",
    "initLibNvInferPlugins", "getBuilderPluginRegistry", "getPluginRegistry",
]  # fmt: skip

LOOK = """
import json, sys
import tensorrt_bindings as trt
used = json.loads(sys.argv[1])
missing = [f"{name}.{a}" for name, attributes in used.items() for a in attributes
           if not hasattr(getattr(trt, name, None), a)]
print(json.dumps({"version": trt.__version__, "missing": missing}))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc")
@pytest.mark.parametrize("version", ["10.13.3.9", "10.16.1.11", "11.3.0.99"])
def test_tensorrt_has_everything_that_is_used(version: str, tmp_path: Path) -> None:
    requirement = f"tensorrt-cu13-bindings=={version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), requirement]
    fetched = subprocess.run(pip, capture_output=True, text=True)
    if "connection broken" in fetched.stderr:
        pytest.skip(f"the package index cannot be reached for {requirement}")
    assert fetched.returncode == 0, fetched.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)

    major = version.split(".")[0]
    source = tmp_path / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        name = f"lib{library}.so.{major}"
        command = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / name), str(source), f"-Wl,-soname,{name}"]
        subprocess.run(command, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(USED)], env=environment, capture_output=True, text=True
    )
    assert looked.returncode == 0, looked.stderr
    assert json.loads(looked.stdout) == {"version": version, "missing": []}
