"""Numbers that point to a person: cards, telephones, records, accounts, dates and high ages, in their written forms."""

from __future__ import annotations

from random import Random

_DISTRICTS = (
    *("110228", "130683", "140722", "211322", "232303", "321181", "330726", "341503", "350582", "360735"),
    *("370883", "410328", "421023", "430626", "440983", "450923", "500236", "511722", "522634", "530381"),
    *("610824", "620525", "632123", "640324", "652925"),
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_MOBILE = "130 131 132 134 135 136 137 151 152 153 155 157 158 159 166 170 173 175 176 178 180 181 182 183 185 187 188 189 191 193 195 198"
_AREA = "010 021 022 023 024 025 027 028 029 0311 0351 0379 0411 0431 0459 0512 0535 0551 0571 0591 0633 0731 0759 0771 0812 0851 0871 0898 0931 0971 0991"
_MAIL_HOSTS = (
    "qq.com",
    "163.com",
    "126.com",
    "sina.com.cn",
    "outlook.com",
    "139.com",
    "yeah.net",
    "gmail.com",
    "foxmail.com",
)
_SYLLABLES = "lan feng xiao hua jing yun tao mei wei bo ning shan yue qing he da"
_MONTHS = ("正月", "二月", "三月", "四月", "五月", "六月", "七月", "八月", "九月", "十月", "冬月", "腊月")
_DAYS = ("初一", "初二", "初五", "初八", "十一", "十四", "十六", "十九", "廿二", "廿五", "廿八", "三十")
_HAN = "〇一二三四五六七八九"


class Numbers:
    """Numbers drawn from one generator; a method is called as the kind of identifier it writes."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def id_card(self) -> str:
        """18 digits; one in twelve of the old 15, one in eleven with a wrong check digit, a few in groups."""
        random = self._random
        year, month, day = random.randint(1931, 2023), random.randint(1, 12), random.randint(1, 28)
        place, order = random.choice(_DISTRICTS), random.randint(1, 998)
        draw = random.random()
        if draw < 0.08:
            return f"{place}{random.randint(31, 84):02}{month:02}{day:02}{order:03}"
        body = f"{place}{year}{month:02}{day:02}{order:03}"
        right = sum(int(d) * w for d, w in zip(body, _WEIGHTS, strict=True)) % 11
        letters = "10X98765432"
        check = letters[(right + random.randint(1, 10)) % 11] if draw < 0.17 else letters[right]
        whole = body + check
        if draw > 0.97:
            return whole.replace("X", "x").replace("0", "O", 1)
        if draw > 0.93:
            return random.choice((" ", "-", "  ")).join((whole[:6], whole[6:14], whole[14:]))
        if draw > 0.88:
            return whole.replace("X", random.choice(("x", "Ｘ")))
        return whole

    def permit(self) -> str:
        """A permit of a resident of Hong Kong, Macao or Taiwan, or one of a mainlander who goes there."""
        return self._pick(
            "H" + self._digits(8),
            "H" + self._digits(10),
            "M" + self._digits(8),
            "M " + self._digits(8),
            "h" + self._digits(8),
            self._digits(8),
            "C" + self._digits(8),
            "CA" + self._digits(7),
            "T" + self._digits(8),
        )

    def passport(self) -> str:
        """A Chinese passport of several issues, or a foreign one."""
        return self._pick(
            "E" + self._digits(8),
            "E" + self._random.choice("ABCDEFGH") + self._digits(7),
            "G" + self._digits(8),
            "PE" + self._digits(7),
            "D" + self._digits(8),
            "K" + self._digits(7) + self._random.choice("ABCDEFGZ"),
            self._digits(9),
        )

    def mobile(self) -> str:
        """A mobile number in one of its groupings."""
        number = self._random.choice(_MOBILE.split()) + self._digits(8)
        if self._random.random() < 0.62:
            return number
        a, b, c = number[:3], number[3:7], number[7:]
        return self._pick(
            f"{a}-{b}-{c}",
            f"{a} {b} {c}",
            f"{a}.{b}.{c}",
            f"{a} {number[3:]}",
            f"{number[:4]} {number[4:7]} {c}",
            f"{number[:5]} {number[5:]}",
            f"{number[:5]}-{number[5:]}",
            f"+86{number}",
            f"+86 {a} {b} {c}",
            f"(+86){number}",
            f"86-{number}",
            f"0086{number}",
            full_width(number),
            f"{a}—{b}—{c}",
            f"{a}_{b}_{c}",
            number.replace("0", "O", 1) if "0" in number[3:] else number.replace("1", "l", 1),
        )

    def landline(self) -> str:
        """A landline with its area code, now and then with an extension or without the code."""
        area = self._random.choice(_AREA.split())
        number = self._digits(8 if len(area) == 3 else self._random.choice((7, 8)))
        return self._pick(
            f"{area}-{number}",
            f"{area}-{number}",
            f"{area}-{number}",
            f"{area}{number}",
            f"（{area}）{number}",
            f"({area}){number}",
            f"({area}) {number[:4]} {number[4:]}",
            f"{area} {number}",
            f"{area}—{number}",
            f"{area}-{number}-{self._digits(3)}",
            f"{area}-{number}转{self._digits(4)}",
            f"{area}-{number}转{self._digits(3)}分机",
            f"{area}-{number}*{self._digits(2)}",
            f"+86-{area[1:]}-{number}",
            full_width(f"{area}-{number}"),
            number,
        )

    def social(self) -> str:
        """A social-security number."""
        return self._pick(
            self._digits(10),
            self._digits(12),
            self._random.choice("ABCDFGHJ") + self._digits(8),
            self._digits(8) + self._random.choice("XABC"),
            self._digits(9),
        )

    def insurance(self) -> str:
        """The number of a medical insurance."""
        return self._pick(
            self._digits(10),
            self._digits(11),
            self._digits(14),
            "31" + self._digits(17),
            f"YB{self._digits(9)}",
            f"{self._random.choice('ABJRZ')}{self._digits(9)}",
            f"NH{self._digits(12)}",
            f"{self._digits(6)}-{self._digits(4)}",
        )

    def mrn(self) -> str:
        """A record number."""
        return self._pick(
            self._digits(6),
            self._digits(7),
            self._digits(8),
            "0" * self._random.randint(1, 4) + self._digits(6),
            f"{self._random.choice(('ZY', 'BA', 'P', 'A', 'K', 'T'))}{self._digits(8)}",
            f"ZY{self._random.randint(10, 24):02}{self._digits(6)}",
            f"{self._digits(6)}-{self._digits(1)}",
            f"{self._digits(3)}-{self._digits(3)}-{self._digits(2)}",
        )

    def visit(self) -> str:
        """A visit or card number of the clinic."""
        year, day = (
            self._random.randint(2018, 2024),
            f"{self._random.randint(1, 12):02}{self._random.randint(1, 28):02}",
        )
        return self._pick(
            f"{year}{day}{self._digits(4)}",
            f"{year}{day}{self._digits(5)}",
            f"M{year % 100}{self._digits(8)}",
            f"OP{self._digits(9)}",
            f"GH{year}{day}{self._digits(3)}",
            f"{year}-{self._digits(6)}",
            self._digits(9),
            self._digits(10),
            self._digits(12),
        )

    def bed(self) -> str:
        """A bed."""
        return self._pick(
            str(self._random.randint(1, 75)),
            str(self._random.randint(1, 75)),
            f"{self._random.randint(1, 50):02}",
            f"+{self._random.randint(1, 14)}",
            f"加{self._random.randint(1, 12)}",
            f"{self._random.choice('ABCEW')}{self._random.randint(1, 40):02}",
            f"{self._random.randint(2, 19)}{self._random.randint(1, 40):02}",
            f"{self._random.randint(2, 12)}-{self._random.randint(1, 40)}",
        )

    def imaging(self) -> str:
        """The number of an imaging or other technical examination."""
        year = self._random.randint(2015, 2024)
        return self._pick(
            f"{self._random.choice(('CT', 'MR', 'DR', 'US', 'XG', 'NM', 'ECG', 'ES', 'RF'))}{self._digits(7)}",
            f"{self._random.choice(('CT', 'MR', 'DX', 'US'))}{year}{self._digits(6)}",
            f"{self._random.choice(('CT', 'MRI'))}-{self._digits(6)}",
            f"{year}{self._random.randint(1, 12):02}{self._random.randint(1, 28):02}{self._digits(4)}",
            f"X{self._digits(6)}",
            self._digits(7),
            self._digits(8),
            f"{year % 100}{self._digits(6)}",
        )

    def pathology(self) -> str:
        """The number of a specimen."""
        year = self._random.randint(2015, 2024)
        return self._pick(
            f"{year}-{self._digits(5)}",
            f"{year}{self._digits(6)}",
            f"B{year % 100}-{self._digits(5)}",
            f"S{year}{self._digits(5)}",
            f"F{self._digits(6)}",
            f"HE{year % 100}{self._digits(5)}",
            f"TCT{self._digits(6)}",
            self._digits(7),
            self._digits(12),
        )

    def bank(self) -> str:
        """A bank card with its check digit, sometimes in groups of four."""
        body = self._random.choice(
            ("622202", "621700", "622848", "621661", "623058", "622588")
        ) + self._digits(12)
        total = 0
        for place, digit in enumerate(reversed(body)):
            value = int(digit) * (2 if place % 2 == 0 else 1)
            total += value - 9 if value > 9 else value
        whole = body + str(-total % 10)
        if self._random.random() < 0.3:
            return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))
        return whole

    def plate(self) -> str:
        """A car's plate, also of an electric one."""
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
        head = self._random.choice(
            "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤川青琼宁"
        ) + self._random.choice("ABCDEFGHJK")
        tail = "".join(self._random.choice(letters + "0123456789" * 3) for _ in range(5))
        if not any(c.isdigit() for c in tail):
            tail = self._digits(5)
        green = self._random.choice("DF") + self._digits(5)
        return self._pick(head + tail, head + "·" + tail, head + " " + tail, head + "-" + tail, head + green)

    def email(self) -> str:
        """An address for electronic mail."""
        syllables = _SYLLABLES.split()
        user = self._pick(
            self._digits(9),
            self._random.choice(syllables) + self._random.choice(syllables) + self._digits(2),
            self._random.choice(syllables) + "_" + self._random.choice(syllables),
            self._random.choice(syllables) + "." + self._random.choice(syllables) + self._digits(4),
            self._random.choice("abcxyz") + self._digits(10),
        )
        host = self._random.choice(_MAIL_HOSTS)
        return self._pick(
            *[f"{user}@{host}"] * 6, f"{user}＠{host}", f"{user} @{host}", f"{user}@{host}".upper()
        )

    def qq(self) -> str:
        """An account of QQ."""
        return self._digits(self._random.randint(7, 10))

    def wechat(self) -> str:
        """An account of WeChat."""
        syllables = _SYLLABLES.split()
        return self._pick(
            f"wxid_{''.join(self._random.choices('abcdefghjkmnpqrstuvw0123456789', k=14))}",
            self._random.choice(syllables) + self._random.choice(syllables) + self._digits(4),
            self._random.choice(syllables) + "-" + self._digits(6),
            self._random.choice(syllables) + "_" + self._random.choice(syllables) + self._digits(2),
            self._random.choice("LWZHY") + self._digits(7),
        )

    def date(self) -> str:
        """A day, or a month of a year, in one of many forms."""
        random = self._random
        year, month, day = random.randint(1996, 2024), random.randint(1, 12), random.randint(1, 28)
        two, mm, dd = year % 100, f"{month:02}", f"{day:02}"
        draw = random.random()
        if draw < 0.55:
            return self._pick(
                f"{year}-{mm}-{dd}", f"{year}年{month}月{day}日", f"{year}.{month}.{day}", f"{year}/{mm}/{dd}",
                f"{year}年{mm}月{dd}日", f"{year}.{mm}.{dd}", f"{year}/{month}/{day}",
            )  # fmt: skip
        if draw < 0.7:
            return self._pick(f"{month}月{day}日", f"{month}月{day}号", f"{month}月{day}日", f"{mm}月{dd}日")
        if draw < 0.8:
            return self._pick(f"{year}年{month}月", f"{year}年{mm}月", f"{year}-{mm}", f"{year}.{month}")
        han_day = _han(day)
        return self._pick(
            f"{year}{mm}{dd}", f"{two:02}-{mm}-{dd}", f"{two:02}.{month}.{day}", f"{two:02}年{month}月{day}日",
            f"{year} 年 {month} 月 {day} 日", full_width(f"{year}-{mm}-{dd}"), full_width(f"{year}年{month}月{day}日"),
            "".join(_HAN[int(d)] for d in str(year)) + f"年{_han(month)}月{han_day}日",
            f"{_han(month)}月{han_day}日", f"{year}年{month}月{day}号", f"{two:02}/{mm}/{dd}", f"{year}、{month}、{day}",
            f"{year}-{month}-{day}", f"{two:02}年{month}月",
        )  # fmt: skip

    def daymonth(self) -> str:
        """A day without its year, by the sun's or the moon's calendar."""
        month, day = self._random.randint(1, 12), self._random.randint(1, 28)
        return self._pick(
            f"{month}.{day}", f"{month}-{day}", f"{month}/{day}", f"{month}月{day}", f"{month}月{day}号",
            f"农历{self._random.choice(_MONTHS)}{self._random.choice(_DAYS)}",
            self._random.choice(_MONTHS) + self._random.choice(_DAYS),
        )  # fmt: skip

    def age(self) -> str:
        """An age of 90 or more, without its unit."""
        years = min(self._random.choice((90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 101, 103)) for _ in range(2))
        draw = self._random.random()
        if draw < 0.1 and years < 100:
            return _han(years)
        return full_width(str(years)) if draw < 0.15 else str(years)

    def _pick(self, *forms: str) -> str:
        return self._random.choice(forms)

    def _digits(self, count: int) -> str:
        return str(self._random.randint(1, 9)) + "".join(self._random.choices("0123456789", k=count - 1))


def full_width(text: str) -> str:
    """Digits, letters and signs of ASCII in their wide forms; a blank stays."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _han(number: int) -> str:
    """A number below 100 in Chinese numerals."""
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else "十" if tens == 1 else _HAN[tens] + "十"
    return head + (_HAN[ones] if ones else "")
