"""The privacy ledger: spent is what may have been released, whatever crashes, and never more than the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emr_fl_client import budget
from emr_fl_client.budget import LEDGER, PrivacyLedger, Round
from emr_fl_shared.config.settings import DifferentialPrivacy
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.privacy import Spent, epsilon_of

KEY = b"k" * 32
WISH = DifferentialPrivacy(enabled=True, target_epsilon=3.0, delta=1e-3)


def wish(**changes: Any) -> DifferentialPrivacy:
    return WISH.model_copy(update=changes)


def a_round(number: int, rounds: int = 4, run: str = "r", rate: float = 0.2, steps: int = 5) -> Round:
    return Round(run, number, rounds, rate, steps)


def test_all_rounds_of_a_run_fit_and_one_more_does_not(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path / "state", KEY)
    assert not ledger.exists()
    given = [ledger.spend(WISH, a_round(number)) for number in range(1, 5)]
    assert len({allowance.noise_multiplier for allowance in given}) == 1, "fixed at the first round"
    assert [a.epsilon for a in given] == sorted(a.epsilon for a in given)
    assert 0.99 * 3.0 < given[-1].epsilon <= 3.0
    before = ledger.path.read_bytes()
    with pytest.raises(BudgetSpent, match=r"the privacy budget .* is spent"):
        ledger.spend(WISH, a_round(5))
    assert ledger.path.read_bytes() == before, "a refusal spends nothing"


def test_it_says_what_the_accountant_says_of_its_history(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path, KEY)
    allowance = ledger.spend(WISH, a_round(1))
    assert ledger.history() == [Spent(allowance.noise_multiplier, 0.2, 5)]
    assert allowance.epsilon == epsilon_of(ledger.history(), 1e-3, "rdp")
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_second_run_goes_on_with_what_is_left(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path, KEY)
    first = ledger.spend(WISH, a_round(1))  # of four: the run stops early
    second = PrivacyLedger(tmp_path, KEY).spend(WISH, a_round(1, rounds=2, run="another"))
    assert second.epsilon > first.epsilon
    assert PrivacyLedger(tmp_path, KEY).spend(WISH, a_round(2, rounds=2, run="another")).epsilon <= 3.0
    with pytest.raises(BudgetSpent):
        PrivacyLedger(tmp_path, KEY).spend(WISH, a_round(1, run="third"))
    # another target is of the same records: what was spent counts there, too
    larger = PrivacyLedger(tmp_path, KEY).spend(wish(target_epsilon=4.0), a_round(1, run="third"))
    assert 3.0 * 0.98 < larger.epsilon <= 4.0


def test_a_crash_in_a_round_has_spent_it(tmp_path: Path) -> None:
    """The process dies after the round was written down: asked again, the round is spent again, and the last one is refused."""
    ledger = PrivacyLedger(tmp_path, KEY)
    for number in (1, 2, 2, 3):
        ledger.spend(WISH, a_round(number))
    with pytest.raises(BudgetSpent):
        ledger.spend(WISH, a_round(4))


def test_a_crash_before_the_ledger_is_on_disk_has_trained_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = PrivacyLedger(tmp_path, KEY)
    ledger.spend(WISH, a_round(1))
    before = ledger.path.read_bytes()

    def dies(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(budget, "write_durably", dies)
        ledger.spend(WISH, a_round(2))
    assert ledger.path.read_bytes() == before


def test_units_do_not_add_up(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path, KEY)
    ledger.spend(WISH, a_round(1))
    with pytest.raises(PolicyError, match="another unit"):
        ledger.spend(wish(unit="patient"), a_round(2))


def lowered(text: str) -> str:
    whole = json.loads(text)
    whole["ledger"]["spent"] = []
    return json.dumps(whole)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "[]", id="a list"),
        pytest.param(lambda text: text.replace('"steps": 5', '"steps": 4'), id="fewer steps"),
        pytest.param(lowered, id="nothing spent"),
        pytest.param(lambda text: text.replace('"version": 1', '"version": 2'), id="another version"),
    ],
)
def test_a_damaged_ledger_is_refused_and_left_alone(tmp_path: Path, damage: Any) -> None:
    ledger = PrivacyLedger(tmp_path, KEY)
    ledger.spend(WISH, a_round(1))
    ledger.path.write_text(damage(ledger.path.read_text()))
    before = ledger.path.read_bytes()
    with pytest.raises(PolicyError, match="damaged") as refused:
        ledger.spend(WISH, a_round(2))
    assert refused.value.exit_code == 3
    assert ledger.path.read_bytes() == before


def test_another_key_is_refused(tmp_path: Path) -> None:
    PrivacyLedger(tmp_path, KEY).spend(WISH, a_round(1))
    with pytest.raises(PolicyError, match="another key"):
        PrivacyLedger(tmp_path, b"o" * 32).history()


def test_a_person_can_read_it_and_nothing_of_a_record_is_in_it(tmp_path: Path) -> None:
    PrivacyLedger(tmp_path, KEY).spend(WISH, a_round(1))
    found = json.loads((tmp_path / LEDGER).read_text())
    assert set(found) == {"ledger", "hmac"}
    assert set(found["ledger"]["spent"][0]) == {
        "run",
        "round",
        "noise_multiplier",
        "sample_rate",
        "steps",
        "time",
    }


class Crash(Exception):
    pass


SCHEDULE = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),  # run
        st.integers(1, 3),  # round
        st.sampled_from(["trains", "dies before the ledger", "dies in training"]),
        st.sampled_from([0.1, 0.5]),  # the export has grown or shrunk
        st.sampled_from([2.0, 3.0]),  # target
    ),
    max_size=8,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=SCHEDULE)
def test_spent_is_never_above_the_target_and_never_below_what_was_released(
    schedule: list[tuple[str, int, str, float, float]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounds in any order, again and again, of two runs, with crashes at the worst moments, and a process for each."""
    folder = tmp_path_factory.mktemp("site")
    released: list[Spent] = []
    real = budget.write_durably

    def dies(*_: object) -> int:
        raise Crash

    for run, number, fate, rate, target in schedule:
        ledger = PrivacyLedger(folder, KEY)
        monkeypatch.setattr(budget, "write_durably", dies if fate == "dies before the ledger" else real)
        try:
            allowance = ledger.spend(
                wish(target_epsilon=target), a_round(number, rounds=3, run=run, rate=rate, steps=4)
            )
        except (BudgetSpent, Crash):
            continue
        # a crash in training may have shown the noise of some of its steps: count all of them as released
        released.append(Spent(allowance.noise_multiplier, rate, 4))
        assert epsilon_of(released, 1e-3, "rdp") <= allowance.epsilon <= target
    monkeypatch.setattr(budget, "write_durably", real)
    assert sorted(map(repr, PrivacyLedger(folder, KEY).history())) == sorted(map(repr, released))
    assert epsilon_of(released, 1e-3, "rdp") <= 3.0
