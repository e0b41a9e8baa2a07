"""Preprocessing as it is often written: every request builds its transforms and puts one image through.

IMAGE, one encoded file, in; PIXELS, (1, 3, S, S) float32, normalised, out. The baseline of
benchmarks/serving.py; what is meant to be served is model_repository/preprocess.
"""

import io
import json

import triton_python_backend_utils as pb_utils
from PIL import Image
from torchvision import transforms


class TritonPythonModel:
    """One image a request, one request after the other."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.crop_size = int(pb_utils.get_output_config_by_name(config, "PIXELS")["dims"][-1])

    def execute(self, requests: list) -> list:
        responses = []
        for request in requests:
            image_bytes = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().item()
            transform = transforms.Compose(
                [
                    transforms.Resize(256),
                    transforms.CenterCrop(self.crop_size),
                    transforms.ToTensor(),
                    # to 0..255: the network has the mean and the standard deviation in its weights
                    transforms.Normalize(mean=[0.0, 0.0, 0.0], std=[1 / 255, 1 / 255, 1 / 255]),
                ]
            )
            image = Image.open(io.BytesIO(image_bytes)).convert("RGB")
            pixels = transform(image).unsqueeze(0).numpy()  # (1, 3, S, S) float32
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)]))
        return responses
