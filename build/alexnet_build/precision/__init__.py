"""Arithmetic that is written into the graph: an ONNX file in FP32 to one that computes in INT8 or FP8.

Called by ``engine``, after ``onnx_from_network`` and before the engine is built. FP16 and BF16 need no step of their
own: the network is exported in them.
"""
