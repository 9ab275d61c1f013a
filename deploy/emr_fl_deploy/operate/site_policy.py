"""`emr-fl client policy show|stop|resume`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emr_fl_client.egress import KillSwitch
from emr_fl_client.join.place import Place, Places, receipts_in
from emr_fl_client.own_policy import policy_text
from emr_fl_shared.chain import Chain
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.messages import tr


def show(place: Place) -> Iterator[str]:
    """The policy in force as TOML that can be saved as `POLICY.toml`; where it comes from stands in comments."""
    signed = place.settings.policy_file
    source = (
        tr(f"{signed}, signed by the site", f"{signed}（已由本机构签名）")
        if signed
        else tr(
            f"[policy] in {place.settings_path}, not signed", f"{place.settings_path} 中的 [policy]（未签名）"
        )
    )
    policy = place.settings.policy
    yield f"# {place.name}: {source}"
    yield f"# SHA-256 {policy.digest()}"
    if KillSwitch(place.state).stopped:
        yield "# " + tr("STOPPED: nothing leaves", "已停止：不外传任何内容")
    yield policy_text(policy).rstrip()


def switch(places: Places, *, on: bool) -> str:
    """Throw the kill switch, then note it in the audit log; returns what to print.

    The file counts whether or not the note can be written: where kit or log are broken, that is said beside it.
    """
    state = places.state_folder()
    kill = KillSwitch(state)
    changed = kill.stop() if on else kill.resume()
    if on:
        said = tr(
            f"stopped: nothing leaves while {kill.path} is there",
            f"已停止：{kill.path} 存在期间不外传任何内容",
        )
    else:
        said = tr("resumed: what the policy allows leaves again", "已恢复：策略允许的内容可再次外传")
    if not changed:
        return said
    try:
        place = places.open()
        Chain(receipts_in(state), place.name, place.signer()).append("stopped" if on else "resumed", {})
    except EmrFlError as error:
        said += "\n" + tr("the audit log has no entry of it: ", "审计日志未能记录：") + error.render()
    return said


def log_of(places: Places) -> tuple[Path, str]:
    """A site's audit log and the public key that must have signed it, also when the kit has expired. Raises `DataError` without a kit."""
    return receipts_in(places.state_folder()), places.public_key()
