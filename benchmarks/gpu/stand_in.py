"""A stand-in for a TensorRT plan, which the embedded Triton cannot load: the same network, run by torch.

Triton loads this file as the model "alexnet" of the benchmark's repository: PIXELS, (N, S, S, 3) uint8, in;
PROBABILITIES, (N, C) float32, out. FP16 with channels last on a GPU, where pixels arrive by DLPack and batches run as
CUDA graphs; FP32 on a CPU.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The network, with one graph for each power of two up to the largest batch."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.max_batch = config["max_batch_size"]
        self.on_gpu = config["parameters"]["STAND_IN_DEVICE"]["string_value"] == "cuda"
        # Triton's stub does not look at PYTHONPATH, where a checkout that is not installed is found.
        sys.path.append(config["parameters"]["SOURCES"]["string_value"])
        from alexnet_build.inference.torch_engine import TorchEngine
        from alexnet_build.weights import load_weights

        trained = load_weights(config["parameters"]["WEIGHTS"]["string_value"])
        device = "cuda" if self.on_gpu else "cpu"
        engine = TorchEngine(
            trained, max_batch=self.max_batch, precision="fp16" if self.on_gpu else "fp32", device=device
        )
        side, classes = trained.spec.image_size, trained.spec.classes
        self.pixels = torch.zeros(self.max_batch, side, side, 3, dtype=torch.uint8, device=device)
        self.probabilities = torch.zeros(self.max_batch, classes, device=device)
        self.engine = engine
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        if self.on_gpu:
            self.stream = torch.cuda.Stream()
            self.from_host = torch.empty_like(self.pixels, device="cpu", pin_memory=True)
            size = 1
            while size <= self.max_batch:
                self.graphs[size] = self.captured(size)
                size *= 2

    def captured(self, size: int) -> torch.cuda.CUDAGraph:
        for _ in range(3):  # cuDNN chooses before the capture
            self.engine.enqueue(self.pixels[:size], self.probabilities[:size], self.stream)
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream), torch.inference_mode():
            self.probabilities[:size].copy_(self.engine.graph(self.pixels[:size]))
        return graph

    def execute(self, requests: list) -> list:
        tensors = [pb_utils.get_input_tensor_by_name(request, "PIXELS") for request in requests]
        sizes = [tensor.shape()[0] for tensor in tensors]
        total = sum(sizes)
        probabilities = self.run_on_gpu(tensors, sizes) if self.on_gpu else self.run_on_cpu(tensors)
        assert len(probabilities) == total
        parts = np.split(probabilities, np.cumsum(sizes)[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor("PROBABILITIES", part)]) for part in parts]

    def run_on_cpu(self, tensors: list) -> np.ndarray:
        pixels = torch.from_numpy(np.concatenate([tensor.as_numpy() for tensor in tensors]))
        with torch.inference_mode():
            return self.engine.graph(pixels).numpy()

    def run_on_gpu(self, tensors: list, sizes: list[int]) -> np.ndarray:
        total = sum(sizes)
        with torch.cuda.stream(self.stream):
            row = first_from_host = 0
            from_host = self.from_host.numpy()
            for tensor, size in zip(tensors, sizes, strict=True):
                if tensor.is_cpu():
                    from_host[row : row + size] = tensor.as_numpy()
                else:
                    self.copy_from_host(first_from_host, row)
                    source = torch.utils.dlpack.from_dlpack(tensor.to_dlpack())
                    self.pixels[row : row + size].copy_(source, non_blocking=True)
                    first_from_host = row + size
                row += size
            self.copy_from_host(first_from_host, row)
            fitting = [size for size in self.graphs if size >= total]
            if fitting:
                self.graphs[min(fitting)].replay()
            else:
                self.engine.enqueue(self.pixels[:total], self.probabilities[:total], self.stream)
            answer = self.probabilities[:total].cpu()  # waits for the stream
        return answer.numpy()

    def copy_from_host(self, start: int, stop: int) -> None:
        """Upload neighbouring rows together."""
        if stop > start:
            self.pixels[start:stop].copy_(self.from_host[start:stop], non_blocking=True)
