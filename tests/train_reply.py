"""A site's reply to a request to train, for what only looks at its fields."""

from __future__ import annotations

from emr_fl_shared.wire import SiteScores, TrainReply


def train_reply(**changes: object) -> TrainReply:
    """With `changes` in the place of its fields."""
    fields: dict[str, object] = {
        "site": "a",
        "round": 1,
        "examples": 10,
        "validation_examples": 9,
        "steps": 3,
        "seconds": 1.23456,
        "loss": 0.123456789,
        "received": SiteScores(n=9, macro_f1=0.123456, micro_f1=0.5),
        "single_label": False,
        "payload": "fp32",
        "device": "cpu",
        "precision": "fp32",
        "peak_rss_mb": 1.0,
    }
    return TrainReply.model_validate({**fields, **changes})
