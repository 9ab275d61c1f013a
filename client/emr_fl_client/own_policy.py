"""The site's own policy, `POLICY.toml`, signed with its own key: what may leave, in a file that nobody else can change unnoticed.

    version = 2
    hours = "20:00-06:00"
    max_update_norm = 5.0
    metrics = { loss = 2, macro_f1 = 2, micro_f1 = 2 }

Its keys are those of `[policy]` in SITE.toml, whose place it takes as a whole. What nobody at the hospital signed is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from emr_fl_client.own_signature import OwnDocument
from emr_fl_shared.config.loading import policy_from
from emr_fl_shared.config.settings import Policy, SiteSettings
from emr_fl_shared.kit.signing import POLICY_DOMAIN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_POLICY = OwnDocument("policy", "策略文件", POLICY_DOMAIN, "docs/egress.md", "emr-fl client policy sign")


def sign_policy(path: Path, key_path: Path) -> Policy:
    """Sign the policy at `path` once it can be understood; its `.sig` is replaced as a whole.

    Raises `SettingsError` (unknown keys, wrong values), `DataError`, `PolicyError` (a key that others can read).
    """
    data = _POLICY.read(path)
    policy = policy_from(data, where=str(path))
    _POLICY.sign(path, data, key_path)
    return policy


def read_policy(path: Path, *, public_key: ec.EllipticCurvePublicKey | None = None) -> Policy:
    """The policy at `path`, its signature checked before it is parsed. Left out, `public_key` is that of `node.pub` beside it.

    Raises `PolicyError` (unsigned, altered, signed with another key), `DataError` (missing) or `SettingsError` (signed, and yet no
    policy).
    """
    return policy_from(_POLICY.read_signed(path, public_key), where=str(path))


def with_own_policy(
    settings: SiteSettings, *, public_key: ec.EllipticCurvePublicKey | None = None
) -> SiteSettings:
    """The settings with the signed policy in the place of `[policy]`, where they name one. Raises as `read_policy` does."""
    if settings.policy_file is None:
        return settings
    policy = read_policy(Path(settings.policy_file), public_key=public_key)
    return settings.model_copy(update={"policy": policy})


def policy_text(policy: Policy) -> str:
    """All rules as TOML, defaults included; what has no limit is left out. It can be saved as `POLICY.toml`."""
    return tomli_w.dumps(policy.model_dump(mode="json", exclude_none=True))
