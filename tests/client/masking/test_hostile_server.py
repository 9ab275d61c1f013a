"""A server that does not keep to the protocol: what it asks for is refused, and the site is as it was before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError
from emr_fl_shared.secure_aggregation.bodies import ConsentRequest, KeysRequest, MaskedRequest, SharesRequest
from emr_fl_shared.secure_aggregation.statements import KEYS_DOMAIN, keys_statement, sign
from federation_kits import snapshot
from masking_group import PARAMETERS, Group, Session, Tensors, names_of, registry, train_request

NAMES = names_of(5)
SITE = NAMES[0]


def updates() -> tuple[dict[str, Tensors], dict[str, float]]:
    draw = np.random.default_rng(1)
    return {name: {"w": draw.normal(0, 0.1, 50).astype(np.float32)} for name in NAMES}, dict.fromkeys(
        NAMES, 10.0
    )


def at(tmp_path: Path, step: str, mode: str = "hostile") -> Session:
    """A session that is about to take `step`."""
    session = Group(tmp_path, NAMES, PARAMETERS.model_copy(update={"mode": mode})).session()
    found, weights = updates()
    steps: list[tuple[str, Callable[[], object]]] = [
        ("keys", session.keys),
        ("shares", session.shares),
        ("masked", lambda: session.masked(found, weights)),
        ("consent", session.consent),
        ("reveal", session.reveal),
    ]
    for name, take in steps:
        if name == step:
            break
        if not (name == "consent" and mode == "curious"):
            take()
    return session


def refused(
    tmp_path: Path, ask: Callable[[], object], match: str, kind: type[EmrFlError] = PolicyError
) -> None:
    """`ask` is refused and leaves what the site keeps as it was."""
    before = snapshot(tmp_path / SITE)
    with pytest.raises(kind, match=match):
        ask()
    assert snapshot(tmp_path / SITE) == before


# --- keys and the group ------------------------------------------------------------------------------------------------


def with_keys(session: Session, change: Callable[[list], list]) -> SharesRequest:  # type: ignore[type-arg]
    request = session.shares_request()
    return request.model_copy(update={"advertisements": change(list(request.advertisements))})


def test_a_group_of_one_or_two_is_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    for size in (1, 2):
        request = with_keys(session, lambda items, size=size: items[:size])
        refused(tmp_path, lambda request=request: session.group.members[SITE].share(request), "too few sites")


def test_a_group_smaller_than_the_policys_is_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    wary = session.group.member(SITE, min_group=6)
    refused(tmp_path, lambda: wary.share(session.shares_request()), r"min_group.*got 5.*>= 6")


def test_the_same_site_in_two_places_makes_no_group(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    request = with_keys(session, lambda items: [items[0], items[1], items[1]])
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "too few sites")


def test_keys_that_the_server_made_are_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    item = session.opening.advertisements[NAMES[1]]
    forged = item.model_copy(update={"mask_key": "11" * 32})
    request = with_keys(session, lambda items: [items[0], forged, *items[2:]])
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "did not sign")


def test_keys_of_an_earlier_session_are_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    earlier = dict(session.opening.advertisements)
    again = session.group.session()
    again.keys()
    request = with_keys(again, lambda items: [items[0], earlier[NAMES[1]], *items[2:]])
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "did not sign")


def test_the_sites_own_keys_must_be_those_that_it_sent(tmp_path: Path) -> None:
    session = at(tmp_path, "shares")
    item = session.opening.advertisements[SITE]
    request = with_keys(
        session, lambda items: [item.model_copy(update={"cipher_key": "11" * 32}), *items[1:]]
    )
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "own keys")


def test_members_by_the_servers_own_registry_are_refused(tmp_path: Path) -> None:
    """The server makes up sites: a registry that the authority did not sign, or keys that are in none."""
    session = at(tmp_path, "shares")
    invented = {name: ec.generate_private_key(ec.SECP384R1()) for name in NAMES}
    forged = registry({**invented, SITE: session.group.keys[SITE]}, Ed25519PrivateKey.generate())
    request = session.shares_request().model_copy(
        update={"registry": forged.sites, "registry_signature": forged.signature}
    )
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "signature does not fit")
    stranger = ec.generate_private_key(ec.SECP384R1())
    item = session.opening.advertisements[NAMES[1]]
    statement = keys_statement(session.setting, "x", item.cipher_key, item.mask_key, item.commitment)
    unknown = item.model_copy(update={"site": "x", "signature": sign(stranger, KEYS_DOMAIN, statement)})
    request = with_keys(session, lambda items: [items[0], unknown, *items[2:]])
    refused(tmp_path, lambda: session.group.members[SITE].share(request), "not registered")


def test_an_older_registry_is_refused(tmp_path: Path) -> None:
    group = Group(tmp_path, NAMES)
    old, group.signed = group.signed, registry(group.keys, group.signing, revision=7)
    session = group.session()
    session.keys()
    session.shares()
    group.signed = old
    again = group.session()
    again.keys()
    refused(tmp_path, lambda: group.members[SITE].share(again.shares_request()), "older list")


def test_different_parameters_for_different_sites_fit_nobodys_signature(tmp_path: Path) -> None:
    session = at(tmp_path, "keys")
    group = session.group
    for name in NAMES:
        parameters = PARAMETERS if name != SITE else PARAMETERS.model_copy(update={"mode": "curious"})
        request = KeysRequest(**session.id, run="run", parameters=parameters)
        session.opening.advertisements[name] = group.members[name].advertise(request).advertisement
    with pytest.raises(PolicyError, match="did not sign"):
        group.members[SITE].share(session.shares_request())


# --- the masked update --------------------------------------------------------------------------------------------------


def test_participants_may_not_be_few_or_strangers(tmp_path: Path) -> None:
    session = at(tmp_path, "masked")
    request = session.masked_request()
    member = session.group.members[SITE]

    def of(names: list[str]) -> MaskedRequest:
        return request.model_copy(update={"shares": {name: request.shares.get(name, {}) for name in names}})

    refused(tmp_path, lambda: member.accept(of(NAMES[:3]), "q"), "too few sites")  # t = 4 of 5
    refused(tmp_path, lambda: member.accept(of([*NAMES[:4], "x"]), "q"), "no members")
    refused(tmp_path, lambda: member.accept(of(NAMES[1:]), "q"), "no members")


def test_one_model_and_one_list_of_participants_a_session(tmp_path: Path) -> None:
    session = at(tmp_path, "consent")
    member, request = session.group.members[SITE], session.masked_request()
    refused(tmp_path, lambda: member.accept(request, "another model"), "second, different question")
    fewer = request.model_copy(update={"shares": {name: request.shares[name] for name in NAMES[:4]}})
    refused(tmp_path, lambda: member.accept(fewer, session.question), "second, different question")


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"run": "another"}, {"payload": "int8"}, {"controls": True}]
)
def test_a_request_to_train_that_is_not_the_sessions_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    session = at(tmp_path, "masked")
    request = session.masked_request().model_copy(update={"train": train_request().model_copy(update=change)})
    refused(tmp_path, lambda: session.group.members[SITE].accept(request, "q"), "another round|fp32")


def test_the_same_question_gets_the_same_bytes_and_another_update_gets_none(tmp_path: Path) -> None:
    session = at(tmp_path, "consent")
    found, weights = updates()
    _, again = session.mask(SITE, found[SITE], weights[SITE])
    assert again.payload == session.vectors[SITE].payload
    other = {"w": found[SITE]["w"] + np.float32(0.01)}
    refused(tmp_path, lambda: session.mask(SITE, other, weights[SITE]), "came out differently")


def test_an_update_is_summed_once(tmp_path: Path) -> None:
    """Two sums over different sites would show the difference between them: a single site's update."""
    session = at(tmp_path, "reveal")
    session.reveal()
    smaller = session.group.session()
    smaller.keys(drop=NAMES[4:])
    smaller.shares()
    found, weights = updates()
    refused(tmp_path, lambda: smaller.mask(SITE, found[SITE], weights[SITE]), "already part of a sum")
    smaller.question = "another attempt"
    smaller.mask(SITE, found[SITE], weights[SITE])


def test_before_any_consent_a_fresh_session_is_no_harm(tmp_path: Path) -> None:
    """The first session's vectors stay noise: its secrets are gone with it."""
    session = at(tmp_path, "consent")
    first = session.vectors[SITE].payload
    again = session.group.session()
    found, weights = updates()
    means = again.run(found, weights, {"masked": NAMES[4:]})
    assert again.vectors[SITE].payload != first
    expected = np.mean([found[name]["w"] for name in NAMES[:4]], axis=0)
    np.testing.assert_allclose(means.of("w"), expected, atol=1e-6)
    refused(
        tmp_path,
        lambda: session.group.members[SITE].consent(ConsentRequest(**session.id, survivors=NAMES)),
        "no such session",
        FederationError,
    )


# --- survivors and shares ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "survivors",
    [
        pytest.param(NAMES[:1], id="a single site's update"),
        pytest.param(NAMES[:2], id="two sites"),
        pytest.param(NAMES[:3], id="fewer than the threshold"),
        pytest.param(NAMES[1:], id="without this one"),
        pytest.param([*NAMES[:4], "x"], id="a stranger"),
        pytest.param([*NAMES[:3], NAMES[0]], id="one twice"),
        pytest.param([], id="nobody"),
    ],
)
@pytest.mark.parametrize("mode", ["hostile", "curious"])
def test_a_list_of_survivors_that_hides_nobody_is_refused(
    tmp_path: Path, mode: str, survivors: list[str]
) -> None:
    if mode == "curious" and survivors == NAMES[:3]:
        survivors = NAMES[:2]  # t = 3 of 5: three are enough there
    session = at(tmp_path, "consent", mode)
    member = session.group.members[SITE]
    if mode == "hostile":
        request = ConsentRequest(**session.id, survivors=survivors)
        refused(tmp_path, lambda: member.consent(request), "too few sites|survivors")
    else:
        reveal = session.reveal_request().model_copy(update={"survivors": survivors})
        refused(tmp_path, lambda: member.reveal(reveal), "too few sites|survivors")


def test_survivors_before_the_site_sent_its_own_vector_are_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "masked")
    request = ConsentRequest(**session.id, survivors=NAMES)
    refused(tmp_path, lambda: session.group.members[SITE].consent(request), "before its turn")


def test_a_second_list_of_survivors_is_refused(tmp_path: Path) -> None:
    session = at(tmp_path, "consent")
    member = session.group.members[SITE]
    first = member.consent(ConsentRequest(**session.id, survivors=NAMES))
    refused(
        tmp_path,
        lambda: member.consent(ConsentRequest(**session.id, survivors=NAMES[:4])),
        "second, different question",
    )
    assert member.consent(ConsentRequest(**session.id, survivors=NAMES)) == first


def test_nothing_is_revealed_without_consents_to_this_very_list(tmp_path: Path) -> None:
    session = at(tmp_path, "reveal")
    member, request = session.group.members[SITE], session.reveal_request()
    consents = request.consents
    few = request.model_copy(update={"consents": dict(list(consents.items())[:3])})
    refused(tmp_path, lambda: member.reveal(few), "too few members signed")
    same = request.model_copy(update={"consents": dict.fromkeys(NAMES, consents[SITE])})
    refused(tmp_path, lambda: member.reveal(same), "too few members signed")
    other = request.model_copy(update={"survivors": NAMES[:4]})
    refused(tmp_path, lambda: member.reveal(other), "not the list")


def test_nothing_is_revealed_by_a_site_that_was_not_asked_for_its_consent(tmp_path: Path) -> None:
    session = at(tmp_path, "consent")
    session.consent(drop=[SITE])
    refused(tmp_path, lambda: session.group.members[SITE].reveal(session.reveal_request()), "not the list")


def test_inconsistent_lists_open_nothing(tmp_path: Path) -> None:
    """One half is told that site 4 is gone, the other that it is there: neither list finds enough signatures."""
    session = at(tmp_path, "consent")
    group = session.group
    lists = {name: NAMES if number % 2 else NAMES[:4] for number, name in enumerate(NAMES[:4])}
    signed = {
        name: group.members[name].consent(ConsentRequest(**session.id, survivors=survivors)).signature
        for name, survivors in lists.items()
    }
    for name, survivors in lists.items():
        request = session.reveal_request().model_copy(update={"survivors": survivors, "consents": signed})
        with pytest.raises(PolicyError, match="too few members signed"):
            group.members[name].reveal(request)


@pytest.mark.parametrize("mode", ["hostile", "curious"])
def test_no_member_gives_both_kinds_of_share_of_one_site(tmp_path: Path, mode: str) -> None:
    session = at(tmp_path, "masked", mode)
    found, weights = updates()
    session.masked(found, weights, drop=NAMES[4:])
    if mode == "hostile":
        session.consent()
    member = session.group.members[SITE]
    reply = member.reveal(session.reveal_request())
    assert set(reply.seeds) == set(NAMES[:4])
    assert set(reply.mask_keys) == {NAMES[4]}
    swapped = session.reveal_request().model_copy(update={"survivors": [SITE, NAMES[4], *NAMES[1:3]]})
    refused(tmp_path, lambda: member.reveal(swapped), "second, different question")
    assert member.reveal(session.reveal_request()) == reply  # asked again, the very same


def test_after_the_shares_are_out_the_site_holds_no_secret_of_the_session(tmp_path: Path) -> None:
    session = at(tmp_path, "reveal")
    secrets = session.group.member(SITE)._memory.session()
    assert secrets is not None and secrets.secrets is not None
    session.reveal()
    after = session.group.member(SITE)._memory.session()
    assert after is not None and after.secrets is None and after.received == {}
    for value in (secrets.secrets.seed, secrets.secrets.mask_key, secrets.secrets.cipher_key):
        assert value not in after.model_dump_json()


def test_a_site_that_was_started_anew_goes_on_where_it_was(tmp_path: Path) -> None:
    session = at(tmp_path, "consent")
    for name in NAMES:
        session.group.members[name] = session.group.member(name)
    session.consent()
    for name in NAMES:
        session.group.members[name] = session.group.member(name)
    session.reveal()
    found, _ = updates()
    expected = np.mean([found[name]["w"] for name in NAMES], axis=0)
    np.testing.assert_allclose(session.opening.open(()).of("w"), expected, atol=1e-6)


def test_a_damaged_list_of_summed_updates_stops_the_site(tmp_path: Path) -> None:
    session = at(tmp_path, "masked")
    (tmp_path / SITE / "secure-ledger.json").write_text("{}")
    refused(tmp_path, lambda: session.group.members[SITE].accept(session.masked_request(), "q"), "damaged")


def test_what_the_server_holds_of_a_site_says_nothing_about_it(tmp_path: Path) -> None:
    """The vector that left is not the update, nor are two of them anything alike."""
    session = at(tmp_path, "consent")
    found, _ = updates()
    payloads = [masked.payload for masked in session.vectors.values()]
    assert len({payload[-400:] for payload in payloads}) == len(payloads)
    values = np.concatenate(
        [np.frombuffer(payload[-50 * 4 - 8 :][: 50 * 4], "<u4") for payload in payloads]
    ).astype(np.float64)
    # uniform over the ring: mean and spread of 250 draws, four standard errors
    assert abs(values.mean() / 2**32 - 0.5) < 4 * (1 / 12) ** 0.5 / 250**0.5
    assert found[SITE]["w"].tobytes()[:16] not in b"".join(payloads)
