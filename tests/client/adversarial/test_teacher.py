"""The teacher: what it remembers and when it moves."""

from __future__ import annotations

import copy

import pytest
import torch

from emr_fl_client.adversarial.teacher import Teacher
from emr_fl_client.dataset.batch import Batch
from small_encoders import CONFIGS, TwoParameters, batch, context, encoder_of

ONE = torch.ones(1, 1, dtype=torch.long)
NOTE = Batch(torch.zeros_like(ONE), ONE, torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("momentum", "every", "expected"),
    [
        # w = 1, 2, 3, 4 at the four steps; the teacher starts at 1 and moves before the steps after the first
        (0.5, 1, [1.0, 1.5, 2.25, 3.125]),
        # every second step: before the third only, from 1 halfway to 3
        (0.5, 2, [1.0, 1.0, 2.0, 2.0]),
        # no memory, moved before every third step: the weights of up to two steps ago
        (0.0, 3, [1.0, 1.0, 1.0, 4.0]),
    ],
    ids=["momentum", "every-second", "previous-weights"],
)
def test_it_follows_the_weights(momentum: float, every: int, expected: list[float]) -> None:
    model, teacher = TwoParameters(1.0, 1.0), Teacher(momentum, every)
    seen = []
    for weight in (1.0, 2.0, 3.0, 4.0):
        model.w.data.fill_(weight)
        teacher.advance(model)
        seen.append(teacher.logits(model, NOTE, context()).item())
        assert model.w.item() == weight
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("kind", CONFIGS)
def test_it_says_what_a_copy_of_the_earlier_model_says(kind: str) -> None:
    model, teacher, data = encoder_of(kind), Teacher(0.9, 1), batch()
    teacher.advance(model)
    earlier = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    expected = earlier(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    said = teacher.logits(model, data, context())
    assert not said.requires_grad
    torch.testing.assert_close(said, expected.detach())
    now = model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    assert (said - now).abs().max() > 1e-3
