"""How good a network is on labelled photographs, as torch, ONNX Runtime or a live server answers.

::

    DIR/<label>/<photograph> ─ photographs ─> Split ─┬─ torch ────────┐
                                                     ├─ ONNX Runtime ─┼─ sources ─> probabilities (M, C)
                                                     └─ server (gRPC) ┘                  │ metrics
                                     table, JSON, files <─ report ─┬─ Evaluation <───────┤
                                                                   └─ pictures <─────────┘
"""
