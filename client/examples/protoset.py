"""Write Triton's gRPC service as a descriptor set, from which every language's gRPC generates its client.

    python client/examples/protoset.py client/examples/triton.protoset

In: the descriptors that NVIDIA compiled into the package tritonclient, from grpc_service.proto and model_config.proto.
Out: both in one google.protobuf.FileDescriptorSet. Called by whoever updates tritonclient; a test compares the file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2


def protoset() -> bytes:
    """The service and what it depends on, in an order in which a reader knows every name before it is used."""
    descriptors = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        descriptors.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    return descriptors.SerializeToString(deterministic=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python protoset.py FILE")
    Path(sys.argv[1]).write_bytes(protoset())
