"""The bundle that a server submits to Flower: names of installed apps, no code, signed by the federation.

Flower ships a "Flower App Bundle" (a zip) to every site and would unpack it and import from it; a bundle with a package of
our name would shadow the installed one. Ours holds `pyproject.toml` and Flower's list of contents, and a site runs
what it installed itself. `check_bundle` looks at the bytes only: nothing is unpacked to disk, nothing is
imported. The whole zip must be, byte for byte, what `build_bundle` makes of the signed statement in it: a further file,
another component or a changed byte is refused.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit.signing import BUNDLE_DOMAIN, sign_bytes, verify_bytes
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BUNDLE_FILE = "bundle.fab"
"""Its name in the server's kit."""
BUNDLE_LIMIT = 64 * 1024
_DATE = (1980, 1, 1, 0, 0, 0)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SIGNED = re.compile(r'^federation = "([0-9a-f]{32})"\nsignature = "([A-Za-z0-9+/=]{88})"$', re.MULTILINE)
_PROJECT = """[project]
name = "emr-fl"
version = "{version}"
description = "Names of installed apps; no code"
license = {{ text = "Apache-2.0" }}

[tool.flwr.app]
publisher = "emr-fl"

[tool.flwr.app.components]
serverapp = "emr_fl_server.app:installed"
clientapp = "emr_fl_client.app:installed"

[tool.emr-fl]
federation = "{federation_id}"
signature = "{signature}"
"""


def build_bundle(key: Ed25519PrivateKey, *, federation_id: str, version: str) -> bytes:
    """The bundle of a federation, made with version X.Y.Z of emr-fl. Same arguments, same bytes."""
    signature = sign_bytes(key, BUNDLE_DOMAIN, _statement(federation_id, version))
    return _zip(federation_id, version, base64.b64encode(signature).decode())


def check_bundle(bundle: bytes, key: Ed25519PublicKey, *, federation_id: str) -> str:
    """Refuse everything but this federation's own bundle; returns the version that made it.

    Raises `PolicyError`.
    """
    if len(bundle) > BUNDLE_LIMIT:
        raise _refused(tr("too large", "过大"), f"{len(bundle)} bytes", f"<= {BUNDLE_LIMIT}")
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            names = archive.namelist()
            if sorted(names) != [".info/CONTENT", "pyproject.toml"]:
                raise _refused(
                    tr("holds files of its own", "包含自带文件"),
                    tr(f"{len(names)} files", f"{len(names)} 个文件"),
                    "pyproject.toml",
                )
            # a zip may unpack to far more than its own size
            if any(entry.file_size > BUNDLE_LIMIT for entry in archive.infolist()):
                raise _refused(tr("too large", "过大"), "", f"<= {BUNDLE_LIMIT}")
            # and to more than it declares: zipfile unpacks first and cuts afterwards. Ours is stored.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise _refused(tr("is not what was signed", "与签名内容不符"), "", "")
            project = archive.read("pyproject.toml").decode("utf-8")
    except PolicyError:
        raise
    except (
        Exception
    ):  # zipfile lets out whatever a hostile file provokes: zlib.error, ValueError, struct.error …
        raise _refused(tr("can't be read", "无法读取"), "", "zip") from None
    found = _SIGNED.search(project)
    version = re.search(r'^version = "([^"]*)"$', project, re.MULTILINE)
    if found is None or version is None or not _VERSION.fullmatch(version[1]):
        raise _refused(tr("is not signed", "未签名"), "", tr("a signature", "签名"))
    if found[1] != federation_id:
        raise _refused(tr("is another federation's", "属于另一个联邦"), found[1], federation_id)
    try:
        signature = base64.b64decode(found[2], validate=True)
    except ValueError:
        signature = b""
    verify_bytes(key, BUNDLE_DOMAIN, _statement(found[1], version[1]), signature, where=_where())
    if bundle != _zip(found[1], version[1], found[2]):
        raise _refused(tr("is not what was signed", "与签名内容不符"), "", "")
    return version[1]


def _statement(federation_id: str, version: str) -> bytes:
    """What is signed: everything of the project file but the signature itself."""
    unsigned = _PROJECT.format(version=version, federation_id=federation_id, signature="")
    return json.dumps({"federation": federation_id, "project": unsigned}, sort_keys=True).encode()


def _zip(federation_id: str, version: str, signature: str) -> bytes:
    project = _PROJECT.format(version=version, federation_id=federation_id, signature=signature).encode()
    listing = f"pyproject.toml,{hashlib.sha256(project).hexdigest()},{8 * len(project)}".encode()
    buffer = io.BytesIO()
    # stored, not deflated: the bytes must not depend on the version of a compressor
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("pyproject.toml", project), (".info/CONTENT", listing)):
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()


def _where() -> str:
    return tr("the bundle that the server submitted", "服务器提交的应用包")


def _refused(what: str, got: str, expected: str) -> PolicyError:
    return PolicyError(
        what,
        where=_where(),
        got=got,
        expected=expected,
        do=tr(
            "nothing of it was run; tell the coordinator that this server is not the one that made the kits",
            "其中内容未被运行；请告知协调方：该服务器并非签发套件的服务器",
        ),
    )
