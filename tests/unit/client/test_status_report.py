"""What `status` says of the work that the models have done."""

from __future__ import annotations

from alexnet_client import ModelStatus, ModelWork, ServerStatus
from alexnet_client._cli.report import row_from_status, work_lines

WORKS = [
    ModelWork("classifier", 1204, 1204, 1.0, 0.0, 0.099, 0.1484),
    ModelWork("preprocess", 1204, 1204, 4.44, 0.00751, 0.0918, 0.0993),
    ModelWork("alexnet", 0, 0, 0.0, 0.0, 0.0, 0.0),
]
MODELS = tuple(ModelStatus(work.model, ("1",), True, work) for work in WORKS)


def test_work_is_a_table_that_fits_80_columns_and_leaves_out_what_means_nothing() -> None:
    assert work_lines(MODELS) == [
        "",
        "  since loaded      images   batch     queue   compute     total",
        "  classifier         1,204       -         -         -    148 ms",
        "  preprocess         1,204     4.4    7.5 ms   91.8 ms   99.3 ms",
        "  alexnet                0       -         -         -         -",
    ]


def test_server_that_does_not_tell_has_no_table() -> None:
    assert work_lines([ModelStatus("classifier", ("1",), True)]) == []


def test_json_has_milliseconds() -> None:
    row = row_from_status(ServerStatus("gpu:8001", "triton", "2.69.0", True, True, MODELS, None), "gpu:8001")
    assert row["models"][1]["work"] == {
        "requests": 1204,
        "images": 1204,
        "batch": 4.44,
        "queue_ms": 7.51,
        "compute_ms": 91.8,
        "total_ms": 99.3,
    }
