"""Whole federations with secure aggregation: the same model as without it, and nothing of a single site at the server."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emr_fl_server.aggregation import Opening
from emr_fl_server.aggregation.spool import Spool
from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError
from emr_fl_shared.payload import PayloadReader
from emr_fl_shared.secure_aggregation.fixed_point import FixedPoint, Weights
from emr_fl_shared.tensorfile import TensorReader
from faults.federation_on_loopback import SITES, federation, finish_all, start_all

sys.path.insert(0, str(Path(__file__).parents[1]))  # the sites' processes import it by this name
from masked_sites import NAMES, run_federation, settings_of

STEPS = (
    "query.secure_keys",
    "query.secure_shares",
    "train.masked",
    "query.secure_consent",
    "query.secure_reveal",
)


def audit(run: Path, event: str) -> list[dict[str, Any]]:
    lines = (run / "audit" / "server.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


@pytest.mark.parametrize("label_rows", ["present", "all"])
def test_one_round_ends_with_the_plain_model(tmp_path: Path, label_rows: str) -> None:
    aggregation = {"label_rows": label_rows}
    masked = run_federation(settings_of(tmp_path / "data", aggregation=aggregation), tmp_path / "masked")
    open_settings = settings_of(tmp_path / "data", aggregation=aggregation, secure={"enabled": False})
    plain = run_federation(open_settings, tmp_path / "plain")
    assert masked.last.history[0]["sites"] == sorted(NAMES)
    weights = [min(known["n_train"], 1e5) / 1e5 for known in masked.last.sites.values()]
    number = FixedPoint(32, 1.0, len(NAMES))
    # rows of a label that one site alone has are divided by its weight alone
    allowed = len(NAMES) * number.error / min(weights)
    assert allowed < 2e-5
    for name, tensor in plain.last.tensors.items():
        np.testing.assert_allclose(masked.last.tensors[name], tensor, atol=allowed + 1e-6)
    (opened,) = audit(tmp_path / "masked", "opened")
    assert opened["survivors"] == sorted(NAMES) and opened["threshold"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_site_that_ends_in_a_step_does_not_hold_the_round(tmp_path: Path, step: str) -> None:
    outcome = run_federation(settings_of(tmp_path / "data"), tmp_path / "run", {"south": step})
    survivors = [name for name in sorted(NAMES) if name != "south" or "consent" in step or "reveal" in step]
    assert outcome.last.history[0]["sites"] == survivors
    assert all(np.isfinite(tensor).all() for tensor in outcome.last.tensors.values())


def test_below_the_threshold_the_round_fails_and_says_why(tmp_path: Path) -> None:
    ends = {"south": "train.masked", "west": "train.masked"}
    with pytest.raises(FederationError, match=r"too few sites for a sum.*\n?.*got 2"):
        run_federation(settings_of(tmp_path / "data"), tmp_path / "run", ends)
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_round_that_failed_after_consent_is_asked_for_again_with_new_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = settings_of(tmp_path / "data"), tmp_path / "run"
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise FederationError("a share that does not fit")

        patch.setattr(Opening, "open", fail)
        with pytest.raises(FederationError, match="does not fit"):
            run_federation(settings, run)
    first = {name: kept_update(run, name)[0] for name in NAMES}
    outcome = run_federation(settings, run)
    assert outcome.last.round == 1
    assert json.loads((run / "secure-attempts.json").read_text()) == {"round": 1, "spent": 2}
    for name in NAMES:
        assert kept_update(run, name)[0] != first[name]


def test_a_second_run_over_the_same_updates_is_summed_anew(tmp_path: Path) -> None:
    """A server that starts over (or pretends to): the sites refuse the updates that were summed, and train anew."""
    settings, run = settings_of(tmp_path / "data"), tmp_path / "run"
    run_federation(settings, run)
    for name in ("checkpoints", "audit", "updates"):
        for path in (run / name).glob("*"):
            if path.is_file():
                path.unlink()
    (run / "secure-attempts.json").unlink()
    with pytest.raises(EmrFlError, match="too few sites"):
        run_federation(settings, run)
    assert {line["reason"] for line in audit(run, "refused")} == {
        "this update was already part of a sum; the server has to ask for another attempt"
    }
    assert run_federation(settings, run).last.round == 1


# --- policy ---------------------------------------------------------------------------------------------------------------


def test_a_site_that_requires_secure_aggregation_sends_nothing_without_it(tmp_path: Path) -> None:
    site = {"policy": {"require_secure_aggregation": True}}
    with pytest.raises(PolicyError):
        run_federation(settings_of(tmp_path / "data", site=site, secure={"enabled": False}), tmp_path / "run")
    reasons = {line["reason"] for line in audit(tmp_path / "run", "refused")}
    assert all(reason.startswith("policy.require_secure_aggregation") for reason in reasons) and reasons
    with pytest.raises(PolicyError):
        run_federation(
            settings_of(tmp_path / "data", site=site, secure={"mode": "curious"}), tmp_path / "weak"
        )
    reasons = {line["reason"] for line in audit(tmp_path / "weak", "refused")}
    assert all(reason.startswith("policy.secure_aggregation_mode") for reason in reasons) and reasons
    assert run_federation(settings_of(tmp_path / "data", site=site), tmp_path / "masked").last.round == 1


def test_a_site_refuses_a_group_smaller_than_its_policys(tmp_path: Path) -> None:
    with pytest.raises(PolicyError):
        run_federation(settings_of(tmp_path / "data", site={"policy": {"min_group": 5}}), tmp_path / "run")
    reasons = {line["reason"] for line in audit(tmp_path / "run", "refused")}
    assert all(reason.startswith("policy.min_group") for reason in reasons) and reasons


# --- the server's memory and disk ----------------------------------------------------------------------------------------


def kept_update(run: Path, site: str) -> tuple[bytes, int]:
    """A site's own update as the site keeps it, and its training records."""
    folder = run / "sites" / site
    about = json.loads((folder / "kept-update.json").read_text())
    return (folder / "kept-update.bin").read_bytes(), int(about["figures"]["examples"])


def traces(run: Path, members: int) -> dict[str, bytes]:
    """Sixty-four bytes of each site's update: as they are, and quantised with the site's weight."""
    found = {}
    for site in NAMES:
        data, examples = kept_update(run, site)
        with TensorReader(data) as raw:
            shapes = {name: place.shape for name, place in raw.places.items()}
        with PayloadReader(data, shapes, "fp32") as reader:
            name = next(name for name in sorted(shapes) if (reader.read(name).reshape(-1)[:16] != 0).all())
            tensor = reader.read(name)
        weights = Weights(1e5, members)
        quantised = FixedPoint(32, 1.0, members).encode(tensor, weights.share(weights.steps(examples)))
        found[f"{site}, plain"] = tensor.reshape(-1)[:16].tobytes()
        found[f"{site}, quantised"] = quantised.reshape(-1)[:16].tobytes()
    return found


def held_bytes() -> Iterator[memoryview]:
    """The content of every byte string, array and tensor that an object of this process refers to."""
    seen: set[int] = set()
    for holder in gc.get_objects():
        for item in gc.get_referents(holder):
            if id(item) in seen:
                continue
            seen.add(id(item))
            if (
                issubclass(type(item), torch.Tensor)
                and item.device.type == "cpu"
                and item.layout == torch.strided
            ):
                item = item.detach().contiguous().view(-1).view(torch.uint8).numpy()
            if issubclass(type(item), np.ndarray) and item.dtype.hasobject is False:
                yield memoryview(np.ascontiguousarray(item).reshape(-1).view(np.uint8))
            elif issubclass(type(item), bytes | bytearray):
                yield memoryview(item)


def search(run: Path, wanted: dict[str, bytes]) -> set[str]:
    """Which of the traces are in this process's memory or in the server's part of the run folder."""
    found = set()
    for content in held_bytes():
        if len(content) > 64:  # the traces themselves
            data = content.tobytes()
            found |= {f"memory: {name}" for name, trace in wanted.items() if trace in data}
    for path in run.rglob("*"):
        if path.is_file() and run / "sites" not in path.parents:
            content = path.read_bytes()
            found |= {f"disk: {name}" for name, trace in wanted.items() if trace in content}
    return found


def test_nothing_of_a_single_update_is_in_the_servers_memory_or_on_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    seen: dict[str, set[str]] = {}
    close, opened = Opening.close_masked, Opening.open

    def close_and_search(self: Opening) -> None:
        close(self)
        seen["all vectors in the sum"] = search(run, traces(run, len(self.members)))

    def open_and_search(self: Opening, rows: Any) -> Any:
        means = opened(self, rows)
        seen["the sum opened"] = search(run, traces(run, len(self.members)))
        return means

    monkeypatch.setattr(Opening, "close_masked", close_and_search)
    monkeypatch.setattr(Opening, "open", open_and_search)
    # a row of a label that one site alone has would be that site's in the sum, too: labels apart
    settings = settings_of(tmp_path / "data", aggregation={"label_rows": "all"})
    run_federation(settings, run)
    seen["the round done"] = search(run, traces(run, len(NAMES)))
    assert seen == {"all vectors in the sum": set(), "the sum opened": set(), "the round done": set()}


def test_the_search_finds_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same search without secure aggregation, while an update is held."""
    run = tmp_path / "run"
    held, seen = [], []
    accept = Spool.accept

    def accept_and_search(self: Spool, site: str, payload: bytes, weight: float) -> Any:
        update = accept(self, site, payload, weight)
        held.append(payload)
        if len(held) == len(NAMES):
            seen.append(search(run, traces(run, len(NAMES))))
        return update

    monkeypatch.setattr(Spool, "accept", accept_and_search)
    run_federation(settings_of(tmp_path / "data", secure={"enabled": False}), run)
    assert seen == [{f"{place}: {name}, plain" for place in ("memory", "disk") for name in NAMES}]


# --- real sites -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_real_sites_with_kits(tmp_path: Path) -> None:
    secure = "[privacy.secure_aggregation]\nenabled = true\n"
    with federation(tmp_path / "masked", rounds=2, settings=secure) as running:
        site_policy = "\n[policy]\nrequire_secure_aggregation = true\n"
        for site in SITES:
            path = running.kit(site) / "SITE.toml"
            path.write_text(path.read_text(encoding="utf-8") + site_policy, encoding="utf-8")
        start_all(running)
        finish_all(running)
        results = json.loads((running.run / "results.json").read_text(encoding="utf-8"))
        assert results["privacy"]["secure_aggregation"] == "hostile"
        assert [entry["sites"] for entry in results["history"]] == [sorted(SITES)] * 2
        opened = [line for line in running.audit() if line["event"] == "opened"]
        assert [line["survivors"] for line in opened] == [sorted(SITES)] * 2
        for site in SITES:
            receipts = (running.state(site) / "audit" / "egress.jsonl").read_text().splitlines()
            kinds = [json.loads(line)["kind"] for line in receipts]
            assert "trained" not in kinds
            for kind in (
                "secure_keys_advertised",
                "secure_shares_made",
                "trained_masked",
                "secure_consented",
                "secure_revealed",
            ):
                assert kinds.count(kind) == 2
