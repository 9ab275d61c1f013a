"""SCAFFOLD of site and server together, on quadratics where everything can be computed in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emr_fl_client.training.scaffold import ControlVariate
from emr_fl_server.aggregation import Spool, advance, start
from emr_fl_server.aggregation.fedavg import FedAvg
from emr_fl_server.aggregation.scaffold import Scaffold
from emr_fl_shared.model.tensors import load_tensors, tensors_of
from emr_fl_shared.payload import CONTROL, Form, beside, pack_tensors

Array = np.ndarray[Any, np.dtype[Any]]
RATE, STEPS = 0.1, 5
CURVATURE = np.array([[1.0, 0.2], [0.1, 2.0]])
"""F_i(w) = ½ Σ_j h_ij (w_j − a_ij)²: sites with different curvature, so that FedAvg ends beside the optimum."""
TARGET = np.array([[3.0, -2.0], [-1.0, 4.0]])
SITES = ("a", "b")


def local(model: nn.Linear, site: int, term: ControlVariate | None) -> None:
    """K plain gradient steps of one site."""
    for _ in range(STEPS):
        model.zero_grad()
        gap = model.weight - torch.tensor(TARGET[site], dtype=torch.float32)
        (0.5 * torch.tensor(CURVATURE[site], dtype=torch.float32) * gap**2).sum().backward()
        if term is not None:
            term.adjust()
        with torch.no_grad():
            assert model.weight.grad is not None
            model.weight -= RATE * model.weight.grad


def federated(folder: Path, rounds: int, *, scaffold: bool, form: Form = "fp32") -> list[Array]:
    """The global weights after each round, with the code of site and server."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    strategy = Scaffold(1.0, 1.0) if scaffold else FedAvg()
    tensors, kept = tensors_of(model), start(strategy, tensors_of(model))
    own: list[dict[str, Array] | None] = [None, None]
    path = []
    for number in range(rounds):
        names = [*tensors, *(beside(CONTROL, name) for name in tensors if scaffold)]
        spool = Spool(folder / str(number), {name: (1, 2) for name in names}, form)
        for index, site in enumerate(SITES):
            load_tensors(model, tensors)
            term = ControlVariate(model, kept[CONTROL], own[index]) if scaffold else None
            local(model, index, term)
            sent = {name: array - tensors[name] for name, array in tensors_of(model).items()}
            if term is not None:
                own[index] = term.control()
                sent |= {beside(CONTROL, name): array for name, array in term.control().items()}
            spool.accept(site, pack_tensors(sent, form).data, 1.0)
        tensors, kept = advance(strategy, tensors, kept, spool.updates)
        path.append(tensors["weight"].reshape(-1).copy())
    return path


def paper(rounds: int) -> list[Array]:
    """Algorithm 1 with option II, word for word, in float64."""
    x, c, own = np.zeros(2), np.zeros(2), [np.zeros(2), np.zeros(2)]
    path = []
    for _ in range(rounds):
        moves, changes = [], []
        for i in range(2):
            y = x.copy()
            for _ in range(STEPS):
                y = y - RATE * (CURVATURE[i] * (y - TARGET[i]) - own[i] + c)
            after = own[i] - c + (x - y) / (STEPS * RATE)
            moves.append(y - x)
            changes.append(after - own[i])
            own[i] = after
        x, c = x + np.mean(moves, axis=0), c + np.mean(changes, axis=0)
        path.append(x.copy())
    return path


def test_it_is_the_papers_algorithm(tmp_path: Path) -> None:
    for ours, theirs in zip(federated(tmp_path, 12, scaffold=True), paper(12), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_it_finds_the_optimum_that_fedavg_misses(tmp_path: Path, form: Form) -> None:
    optimum = (CURVATURE * TARGET).sum(axis=0) / CURVATURE.sum(axis=0)
    fedavg = federated(tmp_path / "fedavg", 80, scaffold=False)[-1]
    scaffold = federated(tmp_path / "scaffold", 80, scaffold=True, form=form)[-1]
    assert np.abs(fedavg - optimum).max() > 0.1
    assert np.abs(scaffold - optimum).max() < 1e-2


def test_the_first_round_is_fedavgs(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        federated(tmp_path / "a", 1, scaffold=True)[0], federated(tmp_path / "b", 1, scaffold=False)[0]
    )


def test_a_gradient_that_overflowed_does_not_count() -> None:
    model = nn.Linear(1, 1, bias=False)
    server, own = {"weight": np.ones((1, 1), np.float32)}, {"weight": np.full((1, 1), 5.0, np.float32)}
    term = ControlVariate(model, server, own)
    assert term.control()["weight"] == 5.0, "no step yet"
    for gradient, expected in ((2.0, 2.0 - 5.0 + 1.0), (float("inf"), float("inf")), (6.0, 2.0)):
        model.weight.grad = torch.full((1, 1), gradient)
        term.adjust()
        assert float(model.weight.grad) == expected
    assert float(term.control()["weight"][0, 0]) == 4.0
