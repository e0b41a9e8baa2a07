"""Plans that do not fit the machine: its TensorRT, its GPUs, the server's flags."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server.discovery import TritonServer, find_tritonserver
from alexnet_server.findings import Finding, Situation, Target
from alexnet_server.hardware_checks import check_gpus, check_tensorrt, note_unknown_hardware
from alexnet_server.repository import read_repository

Checker = Callable[..., tuple[Finding, ...]]
Editor = Callable[[Path, str, str], None]
Changer = Callable[..., None]
Machine = Callable[..., TritonServer]

REBUILD = "alexnet-build repository --weights demo --engine tensorrt --precision fp16 --output"
FLAG = "--backend-config=tensorrt,version-compatible=true"


def situation(
    repository: Path, server: TritonServer | None = None, *flags: str, target: Target | None = None
) -> Situation:
    return Situation(repository, read_repository(repository), server, flags, target)


def fitting(checked: Situation) -> list[Finding]:
    return [*check_tensorrt(checked), *check_gpus(checked)]


def test_whole_preflight_finds_nothing_where_the_plan_fits(plans: Path, machine: Machine, findings_of: Checker) -> None:
    assert findings_of(plans, machine("8.6", "8.6")) == ()


def test_plan_for_another_gpu_is_found_with_both_and_the_command(plans: Path, machine: Machine) -> None:
    (finding,) = fitting(situation(plans, machine("9.0")))

    assert finding.subject == "model alexnet, version 1"
    assert finding.found == ("model.plan was built for compute capability 8.6, GPU 0 here (NVIDIA Test 9.0) has 9.0")
    assert finding.expected == "a plan for compute capability 9.0"
    assert finding.command == f"{REBUILD} {plans}  # on a GPU of compute capability 9.0"


def test_each_kind_of_gpu_needs_a_plan(plans: Path, machine: Machine) -> None:
    findings = fitting(situation(plans, machine("9.0", "8.6", "9.0")))

    assert [finding.found.partition(", ")[2] for finding in findings] == [
        "each of the GPUs 0, 2 here (NVIDIA Test 9.0) has 9.0"
    ]
    assert findings[0].command == f"{REBUILD} {plans} --keep-other-gpus  # on a GPU of compute capability 9.0"


@pytest.mark.parametrize(
    ("level", "capability", "fits"),
    [
        ("ampere_plus", "8.0", True),
        ("ampere_plus", "12.0", True),
        ("ampere_plus", "7.5", False),
        ("same_compute_capability", "8.6", True),
        ("same_compute_capability", "8.9", False),
        ("none", "8.9", False),
        ("a level of the future", "8.9", True),
    ],
)
def test_hardware_compatibility_decides_on_which_gpus_a_plan_runs(
    plans: Path, machine: Machine, change_manifest: Changer, level: str, capability: str, fits: bool
) -> None:
    change_manifest(plans, hardware_compatibility=level)

    findings = fitting(situation(plans, machine(capability)))

    assert (findings == []) is fits
    if level == "ampere_plus" and not fits:
        assert "was built for compute capability 8.0 and newer" in findings[0].found


@pytest.fixture
def plans_for_two(plans: Path, edit: Editor, change_manifest: Changer) -> Path:
    """Plans for compute capability 8.6, the newest, and 8.9, each under its name."""
    version = plans / "alexnet" / "1"
    (version / "model_sm86.plan").hardlink_to(version / "model.plan")
    shutil.copy(version / "model.plan", version / "model_sm89.plan")
    other = {"file": "model_sm89.plan", "compute_capability": "8.9", "builder_version": "11.3.0.99", "engine_bytes": 7}
    change_manifest(plans, other_gpus=[other])
    names = "".join(f' cc_model_filenames {{ key: "8.{i}" value: "model_sm8{i}.plan" }}' for i in (6, 9))
    edit(plans / "alexnet" / "config.pbtxt", "backend:", f'{names} default_model_filename: "model.plan" backend:')
    return plans


def test_each_gpu_is_served_by_the_plan_named_for_it(plans_for_two: Path, machine: Machine) -> None:
    assert fitting(situation(plans_for_two, machine("8.6", "8.9"))) == []


def test_gpu_without_a_plan_of_its_own_gets_the_default(plans_for_two: Path, machine: Machine) -> None:
    (finding,) = fitting(situation(plans_for_two, machine("8.9", "9.0")))

    assert finding.found == "model.plan was built for compute capability 8.6, GPU 1 here (NVIDIA Test 9.0) has 9.0"
    assert finding.command == f"{REBUILD} {plans_for_two} --keep-other-gpus  # on a GPU of compute capability 9.0"


def test_plan_under_the_name_of_another_gpu_is_found(plans_for_two: Path, edit: Editor, machine: Machine) -> None:
    edit(plans_for_two / "alexnet" / "config.pbtxt", '"8.9" value', '"9.0" value')

    (finding,) = fitting(situation(plans_for_two, machine("9.0")))

    assert finding.found.startswith("model_sm89.plan was built for compute capability 8.9, ")


def test_missing_plan_is_found_where_a_gpu_would_load_it(plans_for_two: Path, machine: Machine) -> None:
    (plans_for_two / "alexnet" / "1" / "model_sm89.plan").unlink()

    assert fitting(situation(plans_for_two, machine("8.6"))) == []
    (finding,) = fitting(situation(plans_for_two, machine("8.9")))

    assert finding.found == "GPU 0 here (NVIDIA Test 8.9) would load model_sm89.plan: no model_sm89.plan"


def test_truncated_plan_is_found_where_a_gpu_would_load_it(
    plans_for_two: Path, machine: Machine, findings_of: Checker
) -> None:
    (plans_for_two / "alexnet" / "1" / "model_sm89.plan").write_bytes(b"")

    assert findings_of(plans_for_two, target=Target(("8.6",))) == ()
    (finding,) = findings_of(plans_for_two, target=Target(("8.9",)))

    assert (finding.found, finding.expected) == ("model_sm89.plan has 0 bytes", "7 bytes, as its manifest says")


def test_hard_link_that_became_a_copy_is_still_described(plans_for_two: Path, machine: Machine) -> None:
    copied = plans_for_two / "alexnet" / "1" / "model_sm86.plan"
    content = copied.read_bytes()
    copied.unlink()
    copied.write_bytes(content)

    (finding,) = check_tensorrt(situation(plans_for_two, machine("8.6", tensorrt="11.4.1")))

    assert finding.found.startswith("model_sm86.plan is a plan built by TensorRT 11.3.0.99")


@pytest.mark.parametrize(("asked", "found"), [("0", []), ("1", ["GPU 1 here (NVIDIA Test 9.0) has 9.0"])])
def test_gpus_that_the_config_does_not_use_need_no_plan(
    plans: Path, edit: Editor, machine: Machine, monkeypatch: pytest.MonkeyPatch, asked: str, found: list[str]
) -> None:
    edit(plans / "alexnet" / "config.pbtxt", "backend:", f"instance_group {{ kind: KIND_GPU gpus: {asked} }} backend:")
    server = machine("8.6", "9.0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

    findings = fitting(situation(plans, server))

    assert [finding.found.partition(", ")[2] for finding in findings] == found


def test_doubt_about_which_gpu_is_used_refuses_nothing_that_may_fit(
    plans: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = machine("8.6", "9.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the fastest of the two, whichever that is

    checked = situation(plans, server)

    assert fitting(checked) == []
    (note,) = note_unknown_hardware(checked)
    assert note.found == (
        "the GPUs that the server would use: CUDA_VISIBLE_DEVICES picks some of different kinds, which CUDA counts "
        "in its own order"
    )


def test_doubt_about_which_gpu_is_used_refuses_what_fits_none(
    plans: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = machine("8.9", "9.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    assert len(fitting(situation(plans, server))) == 2


def test_gpu_that_is_not_there_is_found(plans: Path, edit: Editor, machine: Machine) -> None:
    edit(plans / "alexnet" / "config.pbtxt", "backend:", "instance_group { kind: KIND_GPU gpus: [0, 2] } backend:")

    (finding,) = fitting(situation(plans, machine("8.6", "8.6")))

    assert (finding.found, finding.expected) == (
        "its instance_group asks for GPU 2",
        "one of the GPUs here, 0, 1",
    )


def test_gpu_too_old_for_triton_is_left_out(plans: Path, machine: Machine) -> None:
    server = machine("3.5", "8.6")

    assert fitting(situation(plans, server)) == []
    (finding,) = fitting(situation(plans, server, "--min-supported-compute-capability=9.0"))

    assert finding.found == "no GPU here (none of compute capability 9.0), and its backend is tensorrt"


def test_plan_on_a_machine_without_gpu_is_found(plans: Path, machine: Machine) -> None:
    (finding,) = fitting(situation(plans, machine(says="echo NVIDIA-SMI has failed; exit 9")))

    assert finding.subject == "model alexnet"
    assert finding.found == "no GPU here (nvidia-smi: NVIDIA-SMI has failed), and its backend is tensorrt"
    assert finding.command == (
        "docker run --gpus=all ...  # or, without a GPU: "
        f"alexnet-build repository --weights demo --engine onnxruntime --output {plans}"
    )


def test_gpu_instances_of_another_backend_need_a_gpu_too(sound: Path, edit: Editor, machine: Machine) -> None:
    machine(says="exit 9")
    edit(sound / "alexnet" / "config.pbtxt", "backend:", "instance_group { kind: KIND_GPU } backend:")

    (finding,) = fitting(situation(sound, find_tritonserver()))

    assert finding.found == "no GPU here (nvidia-smi: exit code 9), and its instance_group says KIND_GPU"
    assert finding.command.startswith("alexnet-build repository")


def test_plan_in_cpu_instances_is_found(plans: Path, edit: Editor, machine: Machine) -> None:
    edit(plans / "alexnet" / "config.pbtxt", "backend:", "instance_group { kind: KIND_CPU } backend:")

    (finding,) = fitting(situation(plans, machine("8.6")))

    assert finding.found == "its instance_group says KIND_CPU, and TensorRT runs on GPUs alone"
    assert finding.expected == "kind: KIND_GPU"


@pytest.mark.parametrize(
    ("built", "server", "fits"),
    [
        ("11.3.0.99", "11.3.0", True),
        ("11.3.0.99", "11.2.1", False),
        ("11.3.0.99", "11.4.1", False),
        ("11.3.0.99", "11.3.1", False),
        ("10.16.1.11", "11.3.0", False),
        ("unknown", "11.3.0", True),
    ],
)
def test_plan_loads_in_the_tensorrt_that_built_it(
    plans: Path, machine: Machine, change_manifest: Changer, built: str, server: str, fits: bool
) -> None:
    change_manifest(plans, builder_version=built)

    findings = fitting(situation(plans, machine("8.6", tensorrt=server)))

    assert (findings == []) is fits


def test_plan_of_another_tensorrt_is_found_with_both_and_the_command(plans: Path, machine: Machine) -> None:
    (finding,) = fitting(situation(plans, machine("8.6", tensorrt="11.4.1")))

    assert finding.found == "model.plan is a plan built by TensorRT 11.3.0.99, the server's is TensorRT 11.4.1"
    assert finding.expected == "TensorRT 11.3.0.99 in the server, or a plan built by TensorRT 11.4.1"
    assert finding.command == f"{REBUILD} {plans}  # where TensorRT 11.4.1 is installed"


@pytest.mark.parametrize(
    ("built", "server", "fits"),
    [
        ("11.3.0.99", "11.3.0", True),
        ("11.3.0.99", "11.4.1", True),
        ("11.3.0.99", "11.2.1", False),
        ("10.16.1.11", "11.3.0", True),
        ("8.6.1.6", "10.16.1", True),
        ("8.6.1.6", "11.3.0", False),
        ("11.3.0.99", "10.16.1", False),
    ],
)
def test_version_compatible_plan_loads_in_newer_tensorrts(
    plans: Path, change_manifest: Changer, built: str, server: str, fits: bool
) -> None:
    change_manifest(plans, version_compatible=True, builder_version=built)

    findings = fitting(situation(plans, None, FLAG, target=Target(("8.6",), server)))

    assert (findings == []) is fits
    if not fits:
        assert findings[0].found == (
            f"model.plan is a version-compatible plan built by TensorRT {built}, the server's is TensorRT {server}"
        )


@pytest.mark.parametrize("tensorrt", ["11.3.0", "11.4.1", None])
def test_version_compatible_plan_needs_the_flag_that_trusts_it(
    plans: Path, machine: Machine, change_manifest: Changer, monkeypatch: pytest.MonkeyPatch, tensorrt: str | None
) -> None:
    change_manifest(plans, version_compatible=True)
    server = machine("8.6", tensorrt=tensorrt)

    (finding,) = fitting(situation(plans, server, "--log-verbose=1"))

    assert finding.found == (
        "model.plan is version-compatible: it carries code that runs in the server, "
        "which the server's flags do not allow"
    )
    assert finding.expected == f"{FLAG}, for plans from a source that you trust"
    assert finding.command == (
        f"alexnet-server run --repository {plans} -- --log-verbose=1 {FLAG}"
        "  # in the container: TENSORRT_VERSION_COMPATIBLE=true"
    )
    assert fitting(situation(plans, server, "--log-verbose=1", FLAG)) == []


def test_embedded_server_is_not_compared_with_a_plan_that_it_has_no_backend_for(
    plans: Path, machine: Machine, findings_of: Checker
) -> None:
    machine(says="exit 9")

    (finding,) = findings_of(plans)

    assert 'backend: "tensorrt"' in finding.found


def test_what_cannot_be_seen_is_noted_and_refuses_nothing(
    plans: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet_server.hardware._cached_library_folders", lambda: iter(()))
    checked = situation(plans, machine(tensorrt=None, says="echo '0, GPU-1, Tesla, [N/A]'"))

    assert fitting(checked) == []
    assert [note.found for note in note_unknown_hardware(checked)] == [
        "the server's TensorRT has no version that can be seen, so plans were not compared with it",
        "the GPUs that the server would use: nvidia-smi says '0, GPU-1, Tesla, [N/A]'",
    ]


def test_plan_without_manifest_is_noted(plans: Path, machine: Machine) -> None:
    (plans / "alexnet" / "1" / "manifest.json").unlink()
    checked = situation(plans, machine("9.0"))

    assert fitting(checked) == []
    assert [note.found for note in note_unknown_hardware(checked)] == [
        "model alexnet, version 1 has no manifest that describes its plan"
    ]


def test_repository_for_cpus_asks_no_nvidia_smi(sound: Path, machine: Machine) -> None:
    machine(says=f"touch {sound}/asked")

    checked = situation(sound, find_tritonserver())

    assert fitting(checked) == []
    assert list(note_unknown_hardware(checked)) == []
    assert not (sound / "asked").exists()
