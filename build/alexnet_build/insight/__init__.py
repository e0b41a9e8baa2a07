"""What is in an engine and where its time goes: layers, arithmetic, memory, latency, and the ceilings of the machine.

::

    model.plan ─ inspect_plan ──┐   plan_layers    EngineInspector, IProfiler ─┐
    model.onnx ─ inspect_onnx ──┼─  onnx_layers    optimised graph, profiler ──┼─> Layer (work: FLOPs, bytes) ─┐
    weights ──── inspect_torch ─┘   torch_layers   torch.fx ───────────────────┘                               │
                                    latency        Session ─> Timing ──────────────────────────────────────────┤
                                    ceilings       measured, published ────────────────────────────────────────┤
                           table, JSON, CSV <─ report ─ pictures <────────────── Inspection <──────────────────┘
"""
