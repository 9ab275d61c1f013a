"""Ask the server's gateway who we are to it, before Flower is started: a refusal comes with its reason."""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError
from emr_fl_shared.hello import (
    HELLO_PATH,
    PROBE_BYTES,
    PROBE_PATH,
    SIGNATURE_HEADER,
    Hello,
    HelloReply,
    minor,
    sign_hello,
)
from emr_fl_shared.kit import SiteKit
from emr_fl_shared.messages import tr

CONNECT_SECONDS = 10.0


class Unreachable(FederationError):
    """The server does not answer now; it may later."""


class CertificateDates(PolicyError):
    """The server's certificate is not valid now: refused, but a renewed one mends it."""


@dataclass(frozen=True)
class Line:
    """The line to the server: bytes a second, up and down alike; seconds of a round trip."""

    rate: float
    seconds: float


class Greeter:
    """Speaks to one server with one kit."""

    def __init__(self, kit: SiteKit) -> None:
        self._kit = kit
        self._key = load_ssh_private_key(kit.node_key_path.read_bytes(), None)
        host, port = kit.server
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # the federation's own authority and no other: what the operating system trusts does not count here
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=kit.ca_certificate.decode("ascii"))
        self._client = httpx.Client(
            base_url=f"https://{self.address}",
            verify=context,
            timeout=httpx.Timeout(60.0, connect=CONNECT_SECONDS),
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def hello(self, incarnation: str = "") -> HelloReply:
        """Greet the server.

        Raises `Unreachable` (try again later) or `PolicyError` (it will not have us, or is not the one that we look for;
        `CertificateDates` may get better).
        """
        body = self._body(incarnation)
        response = self._post(HELLO_PATH, body, body)
        if response.status_code == 403:
            raise PolicyError(
                tr("the server does not know this site's key", "服务器不认识本机构的密钥"),
                where=self.address,
                got=fingerprint_line(self._kit),
                do=tr(
                    "was the kit replaced? ask the coordinator for the current one (emr-fl server kits)",
                    "套件是否已被替换？请向协调方索取最新套件（emr-fl server kits）",
                ),
            )
        if response.status_code != 200:
            raise Unreachable(
                tr("the server does not answer as it should", "服务器应答异常"),
                where=self.address,
                got=f"HTTP {response.status_code}",
            )
        try:
            reply = HelloReply.model_validate_json(response.content)
        except ValueError:
            raise PolicyError(
                tr("something else than an emr-fl server answers", "应答的并非 emr-fl 服务器"),
                where=self.address,
                do=tr("check address and proxies", "请检查地址与代理"),
            ) from None
        self._check(reply)
        return reply

    def probe(self, size: int = PROBE_BYTES // 2) -> Line:
        """Send and receive `size` bytes and measure."""
        body = self._body("")
        began = time.monotonic()
        self._post(PROBE_PATH, body, body + b"\n")
        trip = time.monotonic() - began
        payload = os.urandom(size)
        began = time.monotonic()
        response = self._post(PROBE_PATH, body, body + b"\n" + payload)
        both = max(time.monotonic() - began - trip, 1e-3)
        if response.status_code != 200 or len(response.content) != size:
            raise Unreachable(
                tr("the line can't be measured", "无法测量线路"),
                where=self.address,
                got=f"HTTP {response.status_code}",
            )
        # one figure for both directions: half of the time each
        return Line(2 * size / both, trip)

    def _body(self, incarnation: str) -> bytes:
        hello = Hello(
            public_key=self._kit.public_key,
            time=datetime.now(UTC),
            incarnation=incarnation,
            emr_fl=version("emr-fl"),
            flwr=version("flwr"),
        )
        return hello.model_dump_json().encode()

    def _post(self, path: str, signed: bytes, content: bytes) -> httpx.Response:
        headers = {SIGNATURE_HEADER: sign_hello(self._key, signed), "content-type": "application/json"}  # type: ignore[arg-type]
        try:
            return self._client.post(path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise self._translated(error) from None

    def _translated(self, error: httpx.HTTPError) -> EmrFlError:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            if "expired" in text or "not yet valid" in text:
                return CertificateDates(
                    tr("the server's certificate is not valid now", "服务器证书当前无效"),
                    where=self.address,
                    got=tr("this machine's clock says ", "本机时钟为 ")
                    + f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                    do=tr(
                        "if the clock is right, the coordinator renews it: emr-fl server renew server",
                        "若时钟无误，请协调方续期：emr-fl server renew server",
                    ),
                )
            return PolicyError(
                tr("this is not the server that the kit was made for", "这不是套件所属的服务器"),
                where=self.address,
                got=tr(
                    "a certificate of another authority or for another name", "证书来自其他机构或名称不符"
                ),
                do=tr(
                    "check the address; does a proxy open TLS on the way? It must not",
                    "请检查地址；途中是否有代理解开 TLS？不允许这样做",
                ),
            )
        return Unreachable(
            tr("the server can't be reached", "无法连接服务器"),
            where=self.address,
            got=type(error).__name__,
            do=tr(
                f"outgoing TCP to {self.address} must be allowed; is the server running?",
                f"须允许到 {self.address} 的出站 TCP；服务器是否在运行？",
            ),
        )

    def _check(self, reply: HelloReply) -> None:
        """Refuse what will not get better by waiting."""
        kit = self._kit.document
        if reply.federation_id != kit.federation_id or reply.site != kit.name:
            raise PolicyError(
                tr("the server of another federation", "这是另一个联邦的服务器"), where=self.address
            )
        if reply.standing == "clock":
            skew = (datetime.now(UTC) - reply.time).total_seconds()
            raise PolicyError(
                tr("this machine's clock is wrong", "本机时钟有误"),
                where=self.address,
                got=tr(f"{skew:+.0f} s against the server's", f"与服务器相差 {skew:+.0f} 秒"),
                expected=tr("at most 5 s ahead, 5 min behind", "最多快 5 秒、慢 5 分钟"),
                do=tr("set it by NTP, then join again", "请用 NTP 校时后重新加入"),
            )
        if reply.standing != "registered":
            words = {
                "revoked": tr("this site's key was revoked", "本机构的密钥已被吊销"),
                "expired": tr("this site's kit has expired", "本机构的套件已过期"),
                "not yet valid": tr("this site's kit is not valid yet", "本机构的套件尚未生效"),
            }
            raise PolicyError(
                words[reply.standing],
                where=self.address,
                got=fingerprint_line(self._kit),
                do=tr("ask the coordinator for a new kit", "请向协调方索取新套件"),
            )
        for name, theirs in (("flwr", reply.flwr), ("emr-fl", reply.emr_fl)):
            ours = version(name)
            if minor(ours) != minor(theirs):
                raise PolicyError(
                    tr(f"another version of {name} than the server's", f"{name} 版本与服务器不同"),
                    where=self.address,
                    got=ours,
                    expected=f"{minor(theirs)}.*",
                    do=tr(
                        "install the federation's version in a virtual environment of its own",
                        "请在独立的虚拟环境中安装联邦所用版本",
                    ),
                )


def fingerprint_line(kit: SiteKit) -> str:
    """The key as two people compare it."""
    return f"SHA-256 {kit.document.key_fingerprint[:16]}…"
