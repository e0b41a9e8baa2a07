"""From weights to a model repository that Triton Inference Server loads.

One step a module, in the order in which the weights pass through them::

    weights -> network -> onnx_from_network -> plan_from_onnx -> verify -> repository

``training`` and ``compression`` make weights, ``evaluation`` measures them; the rest turns them into a served network.
Heavy libraries (torch, onnx, tensorrt) are imported inside the step that needs them, so that ``alexnet-build --help``
is quick and works without them.
"""

__version__ = "0.1.0"
