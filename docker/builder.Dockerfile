# Builds the model repository on this machine's GPU, see docker/build_if_needed.py; docker/compose.yaml builds and runs it.
ARG TRITON_TAG
FROM nvcr.io/nvidia/tensorrt:${TRITON_TAG}-py3

ARG TRITON_TAG
ARG TENSORRT_VERSION
LABEL org.opencontainers.image.title="alexnet-triton-builder" \
      org.opencontainers.image.description="Builds a model repository of alexnet-triton with TensorRT" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="nvcr.io/nvidia/tensorrt:${TRITON_TAG}-py3" \
      alexnet-triton.tensorrt="${TENSORRT_VERSION}"

# .dockerignore lets in the package's sources and docker/, nothing else.
COPY . /opt/alexnet-triton/
# TensorRT itself is the image's, so the extra of that name is not asked for. The cache keeps a change of the sources
# from fetching torch again.
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install "/opt/alexnet-triton[build]" \
    && install --directory --owner=1000 --group=1000 /models /weights

# What is built, unless `docker run --env` or Compose says otherwise.
ENV WEIGHTS=imagenet \
    PRECISION=fp16 \
    MAX_BATCH=64 \
    BUILD_OPTIONS="" \
    MODEL_REPOSITORY=/models
# TENSORRT_VERSION is compared with what the image has. HOME: uid 1000 has none, and CUDA wants to write there.
ENV TENSORRT_VERSION=${TENSORRT_VERSION} \
    TORCH_HOME=/weights \
    HOME=/tmp
# The server's user: what this one writes, that one can read.
USER 1000:1000
# NVIDIA's own entrypoint goes first: it checks the driver and chooses the CUDA compatibility libraries.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python3", "/opt/alexnet-triton/docker/build_if_needed.py"]
