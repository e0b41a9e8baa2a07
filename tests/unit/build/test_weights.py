from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from alexnet_build.errors import UntrustedWeightsError, WeightsError
from alexnet_build.network import AlexNet2012, NetworkSpec, ServingGraph
from alexnet_build.weights import TrainedNetwork, load_weights, save_weights
from alexnet_build.weights_layouts import imagenet_labels
from alexnet_build.weights_numpy import CAFFE_MEAN_RGB
from torchvision.models import alexnet


def assert_same_network(network: torch.nn.Module, expected: torch.nn.Module) -> None:
    ours, theirs = network.state_dict(), expected.state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_save_weights_keeps_tensors_and_specification(trained: TrainedNetwork, tmp_path: Path) -> None:
    save_weights(trained, tmp_path / "w.safetensors")
    loaded = load_weights(str(tmp_path / "w.safetensors"))
    assert loaded.spec == trained.spec
    assert len(loaded.sha256) == 64
    assert_same_network(loaded.network, trained.network)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_load_weights_recognises_torchvision_in_a_pth_file(tmp_path: Path) -> None:
    network = alexnet(num_classes=7)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    loaded = load_weights(str(tmp_path / "w.pth"))
    assert (loaded.spec.architecture, loaded.spec.image_size, loaded.spec.classes) == ("torchvision", 224, 7)
    assert loaded.spec.labels[:2] == ("class 0", "class 1")
    assert_same_network(loaded.network, network)


@pytest.mark.parametrize("prefix", ["module.", "model.network."])
def test_load_weights_looks_past_the_prefixes_of_training_programs(
    trained: TrainedNetwork, tmp_path: Path, prefix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in trained.network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.ckpt")
    loaded = load_weights(str(tmp_path / "w.ckpt"), labels=["a", "b", "c"])
    assert loaded.spec == trained.spec
    assert_same_network(loaded.network, trained.network)


def test_load_weights_uses_imagenet_labels_for_a_thousand_classes(tmp_path: Path) -> None:
    torch.save(alexnet(num_classes=1000).state_dict(), tmp_path / "w.pth")
    assert load_weights(str(tmp_path / "w.pth")).spec.labels == imagenet_labels()
    assert imagenet_labels()[281] == "tabby"


def caffe_layout(network: AlexNet2012) -> dict[str, list[np.ndarray]]:
    """The network as bvlc_alexnet.npy lays it out: HWIO kernels, BGR input, rows of fc6 in HWC order."""
    layers = {}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        weights = getattr(network, name).weight.detach().numpy()
        if name == "conv1":
            weights = weights[:, ::-1]
        if name.startswith("conv"):
            weights = weights.transpose(2, 3, 1, 0)
        elif name == "fc6":
            weights = weights.reshape(4096, 256, 6, 6).transpose(2, 3, 1, 0).reshape(9216, 4096)
        else:
            weights = weights.T
        layers[name] = [np.ascontiguousarray(weights), getattr(network, name).bias.detach().numpy()]
    return layers


def test_load_weights_turns_the_caffe_layout_into_the_same_function_of_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = AlexNet2012(5, grouped=True, local_response_norm=True).eval()
    np.save(tmp_path / "bvlc_alexnet.npy", caffe_layout(network), allow_pickle=True)
    loaded = load_weights(str(tmp_path / "bvlc_alexnet.npy"))
    assert (loaded.spec.grouped, loaded.spec.local_response_norm, loaded.spec.classes) == (True, True, 5)
    assert_same_network(loaded.network, network)

    pixels = torch.randint(0, 256, (1, 227, 227, 3), dtype=torch.uint8)
    caffe_input = (pixels.float() - torch.tensor(CAFFE_MEAN_RGB)).permute(0, 3, 1, 2)
    expected = network(caffe_input).softmax(1)
    torch.testing.assert_close(ServingGraph(loaded.network, loaded.spec).eval()(pixels), expected)


def test_load_weights_reads_a_dict_of_arrays_under_weight(trained: TrainedNetwork, tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in trained.network.state_dict().items()}
    np.save(tmp_path / "w.npy", {"weight": arrays}, allow_pickle=True)
    assert_same_network(load_weights(str(tmp_path / "w.npy")).network, trained.network)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def test_load_weights_refuses_a_npy_file_that_would_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array({"conv1": Malicious(tmp_path / "ran")}, dtype=object), allow_pickle=True)
    with pytest.raises(UntrustedWeightsError, match=r"would run code .* --trust"):
        load_weights(str(tmp_path / "w.npy"))
    assert not (tmp_path / "ran").exists()


def test_load_weights_refuses_a_pth_file_that_would_run_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Malicious(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(UntrustedWeightsError, match="--trust"):
        load_weights(str(tmp_path / "w.pth"))
    assert not (tmp_path / "ran").exists()


def test_load_weights_unpickles_a_whole_module_only_with_trust(trained: TrainedNetwork, tmp_path: Path) -> None:
    torch.save(trained.network, tmp_path / "w.pth")
    with pytest.raises(UntrustedWeightsError):
        load_weights(str(tmp_path / "w.pth"))
    assert_same_network(load_weights(str(tmp_path / "w.pth"), trust=True).network, trained.network)


def test_load_weights_lists_every_tensor_that_does_not_fit(trained: TrainedNetwork, tmp_path: Path) -> None:
    state = dict(trained.network.state_dict())
    del state["conv3.bias"]
    state["fc7.weight"] = torch.zeros(4096, 10)
    state["head.gamma"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(str(tmp_path / "w.pth"))
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "missing      conv3.bias 384",
        "unexpected   head.gamma 2",
        "wrong shape  fc7.weight: expected 4096x4096, the file has 4096x10",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("w.safetensors", b"garbage", "is damaged"),
        ("w.safetensors.xz", b"garbage", "is damaged: not an xz file"),
        ("w.pth", b"garbage", "holds more than tensors|damaged"),
        ("w.npy", b"garbage", "is damaged or not a .npy file"),
        ("w.npy", pickle.dumps({"a": 1}), "is damaged or not a .npy file"),
        ("w.h5", b"", "unknown ending; expected .safetensors"),
    ],
)
def test_load_weights_says_what_is_wrong_with_a_file(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=expected):
        load_weights(str(tmp_path / name))


def test_load_weights_says_what_was_expected_of_other_networks(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds no AlexNet known here.*\n  fc.weight \(2, 2\)"):
        load_weights(str(tmp_path / "w.pth"))


def test_load_weights_names_what_it_takes_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected 'imagenet', 'demo' or a file ending in .safetensors"):
        load_weights(str(tmp_path / "none.pth"))


def test_load_weights_refuses_labels_of_another_count(trained: TrainedNetwork, tmp_path: Path) -> None:
    save_weights(trained, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"2 labels were given, but .* has 3 classes"):
        load_weights(str(tmp_path / "w.safetensors"), labels=["a", "b"])


def test_imagenet_weights_without_a_network_name_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # a port that nothing listens on
    with pytest.raises(WeightsError, match="--weights FILE"):
        load_weights("imagenet")


def test_specification_in_a_file_wins_over_recognition(tmp_path: Path) -> None:
    spec = NetworkSpec("paper2012", ("x", "y"), grouped=True, local_response_norm=False, mean=(0.0, 0.0, 0.0))
    network = AlexNet2012(2, grouped=True).eval()
    save_weights(TrainedNetwork(spec, network), tmp_path / "w.safetensors")
    assert load_weights(str(tmp_path / "w.safetensors")).spec == spec
    overridden = load_weights(str(tmp_path / "w.safetensors"), local_response_norm=True)
    assert overridden.spec.local_response_norm
