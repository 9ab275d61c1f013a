"""E-mail addresses, QQ and WeChat accounts.

>>> from emr_fl_shared.deidentify.recognisers.contact import Contact
>>> [(span.kind, span.start) for span in Contact().find("微信wang_2024, QQ:123456789, a.b@c.cn", {})]
[('EMAIL', 27), ('QQ', 16), ('WECHAT', 2)]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span

_EMAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63} ?@ ?[A-Za-z0-9-]{1,63}(?: ?\. ?[A-Za-z0-9-]{2,63}){1,3}"
)
_QQ = re.compile(
    r"(?:QQ|qq|Qq|扣扣|企鹅)(?:号码|号|群|邮箱)?[ ]*[:是为(|]?[ ]*([1-9](?:[ -]?\d){4,11})(?!\d)"
)
_WECHAT = Guarded(
    r"(?:微信号码|微信号|微信|WeChat|wechat|Wechat|WECHAT|weixin|VX|vx|V信|v信|薇信|加[VvＶ]|加微|(?<![A-Za-z])(?:wx|WX|[Vv](?=[ ]?:)))"
    r"(?:[ ]?(?:ID|Id|id|号码?|账号|随访|联系|好友|咨询))?[ ]*(?:[:是为(|])?[ ]*"
    r"([A-Za-z][A-Za-z0-9_-]{4,19}|(?<=[:是为号信VvXx(])[1-9]\d{5,14})(?![A-Za-z0-9_-])",
    r"[微WwVv薇加]",
)
# An account of a platform: letters in lower case and many digits.
_ACCOUNT = re.compile(
    r"(?<![A-Za-z])(?:ID|Id|id|账号|帐号|用户名|昵称)[ ]?[:是为]?[ ]?([a-z][a-z_-]{1,15}\d{4,12})(?![A-Za-z0-9])"
)
# The identifier that WeChat gives an account says itself what it is.
_OWN_ID = re.compile(r"(?<![A-Za-z0-9])wxid_[a-z0-9]{6,24}")


@register
class Contact:
    """See the module's docstring."""

    name = "contact"
    sources: tuple[str, ...] = (
        "RFC 5321 (the usual subset)",
        "labels of QQ and WeChat accounts as written in notes",
    )
    kinds: tuple[str, ...] = ("EMAIL", "QQ", "WECHAT")
    _cues = re.compile(
        r"[@Qq扣企微薇WwVv加Ii账帐户昵](?:(?<=@)|(?<=[Qq])[Qq]|(?<=扣)扣|(?<=企)鹅|(?<=[微薇])信|(?<=[Ww])(?:[Ee][Cc][Hh][Aa][Tt]|[Xx])"
        r"|(?<=w)eixin|(?<=V)X|(?<=v)x|(?<=[Vv])(?:[信:]| :)|(?<=加)[Vv微]|(?<=[Ii])[Dd]|(?<=[账帐])号|(?<=户)名|(?<=昵)称)"
    )

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of accounts; see `Recogniser`."""
        if not self._cues.search(text):
            return
        for match in _EMAIL.finditer(text) if "@" in text else ():
            yield Span(match.start(), match.end(), "EMAIL", 0.98)
        for match in _QQ.finditer(text):
            yield Span(match.start(1), match.end(1), "QQ", 0.97)
        for match in _OWN_ID.finditer(text):
            yield Span(match.start(), match.end(), "WECHAT", 0.96)
        for match in (*_WECHAT.finditer(text), *_ACCOUNT.finditer(text)):
            yield Span(match.start(1), match.end(1), "WECHAT", 0.97)
