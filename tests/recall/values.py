"""Values of every type of identifier, in the notations that clinics write. Every draw comes from the given generator."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from recall import pools
from recall.halves import Half, of_half

_OCR = {"0": "Oo", "1": "lI"}


class Values:
    """Draws identifier values. Open word lists are split by half: a word of one half never occurs in the other."""

    def __init__(self, random: Random, half: Half) -> None:
        self.random = random
        words = (pools.WORD_NAMES, pools.MINORITY_NAMES, pools.LONG_NAMES)
        self.word_names, self.minority_names, self.long_names = (of_half(pool, half) for pool in words)
        self.place_words = of_half(pools.PLACE_WORDS, half)
        self.village_words = of_half(pools.VILLAGE_WORDS, half)
        self.brands = of_half(pools.BRANDS, half)
        self.wechat_stems = of_half(pools.WECHAT_STEMS, half)
        self.makers: dict[str, Callable[[], str]] = {
            "id_card": self.id_card,
            "permit": self.permit,
            "passport": self.passport,
            "mobile": self.mobile,
            "landline": self.landline,
            "address": self.address,
            "origin": self.origin,
            "social": self.social,
            "insurance": self.insurance,
            "mrn": self.record_number,
            "visit": self.visit_number,
            "bed": self.bed,
            "imaging": self.imaging_number,
            "pathology": self.pathology_number,
            "hospital": self.hospital,
            "department": self.department,
            "employer": self.employer,
            "school": self.school,
            "bank": self.bank_card,
            "plate": self.plate,
            "email": self.email,
            "qq": self.qq,
            "wechat": self.wechat,
            "date": self.date,
            "daymonth": self.day_and_month,
            "age": self.age,
        }

    def digits(self, count: int) -> str:
        return "".join(self.random.choice("0123456789") for _ in range(count))

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # ---- persons

    def name(self) -> str:
        """A full name without spaces or titles."""
        draw = self.random.random()
        if draw < 0.05:
            return self.random.choice(self.word_names)
        if draw < 0.09:
            return self.random.choice(self.minority_names)
        if draw < 0.12:
            return self.random.choice(self.long_names)
        if draw < 0.16:
            surname = self.random.choice(pools.COMPOUND_SURNAMES)
        elif draw < 0.23:
            surname = self.random.choice(pools.RARE_SURNAMES)
        else:
            surname = self.random.choice(pools.SURNAMES)
        length = 1 if self.chance(0.22) else 2
        return surname + "".join(self.random.choices(pools.GIVEN_CHARACTERS, k=length))

    def written(self, name: str) -> str:
        """The name as somebody may write it: mostly as it is, else spaced out or with another dot."""
        if "·" in name:
            return name.replace("·", self.random.choice(["·", "·", "·", "•", ".", "・"]))
        if len(name) == 2 and self.chance(0.05):
            return name[0] + self.random.choice([" ", "　", "  "]) + name[1]
        if len(name) == 3 and self.chance(0.02):
            return " ".join(name)
        return name

    # ---- numbers of persons

    def id_card(self) -> str:
        region = self.random.choice(
            [
                "110105",
                "310115",
                "330106",
                "330282",
                "320583",
                "510105",
                "511381",
                "440305",
                "410105",
                "411381",
                "420106",
                "370203",
                "370781",
                "430111",
                "610104",
                "530102",
                "210213",
                "350582",
                "340123",
                "520115",
                "620123",
                "230103",
                "450107",
                "653125",
                "150121",
                "500101",
                "120104",
            ]
        )
        year, month, day = (
            self.random.randint(1925, 2019),
            self.random.randint(1, 12),
            self.random.randint(1, 28),
        )
        if year < 1985 and self.chance(0.12):
            return self._ocr(f"{region}{year % 100:02d}{month:02d}{day:02d}{self.digits(3)}", 0.03)
        body = f"{region}{year}{month:02d}{day:02d}{self.digits(3)}"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
        if check == "X" and self.chance(0.4):
            check = "x"
        draw = self.random.random()
        if draw < 0.06:
            separator = self.random.choice([" ", "-"])
            return separator.join((body[:6], body[6:14], body[14:] + check))
        if draw < 0.08:
            number = body + check
            return " ".join((number[:4], number[4:8], number[8:12], number[12:16], number[16:]))
        if draw < 0.13:
            return _full_width(body + check)
        return self._ocr(body + check, 0.05)

    def permit(self) -> str:
        """Permits of residents of Hong Kong, Macao and Taiwan, and their identity cards."""
        draw = self.random.randrange(7)
        if draw == 0:
            return f"H{self.digits(8)}"
        if draw == 1:
            return f"M{self.digits(8)}"
        if draw == 2:
            return f"{self.random.choice('HM')}{self.digits(10)}"
        if draw == 3:
            return self.digits(8)
        if draw == 4:
            return f"{self.random.choice(['810000', '820000', '830000'])}19{self.random.randint(50, 99)}0{self.random.randint(1, 9)}1{self.digits(1)}{self.digits(4)}"
        if draw == 5:
            return f"{self.random.choice('ABCDGKPRYZ')}{self.digits(6)}({self.digits(1)})"
        return f"{self.random.choice('hm')}{self.digits(8)}"

    def passport(self) -> str:
        draw = self.random.randrange(5)
        if draw < 2:
            return f"{self.random.choice('EG')}{self.digits(8)}"
        if draw == 2:
            return f"E{self.random.choice('ABCDEFGH')}{self.digits(7)}"
        if draw == 3:
            return f"{self.random.choice('PSD')}{self.digits(7)}"
        return f"{self.random.choice(['PE', 'DE', 'SE', 'K', 'N'])}{self.digits(7)}"

    def mobile(self) -> str:
        head = self.random.choice(
            [
                "130",
                "131",
                "133",
                "135",
                "136",
                "137",
                "138",
                "139",
                "147",
                "150",
                "151",
                "152",
                "157",
                "158",
                "159",
                "166",
                "170",
                "173",
                "176",
                "177",
                "180",
                "182",
                "186",
                "187",
                "188",
                "189",
                "191",
                "198",
                "199",
            ]
        )
        a, b = self.digits(4), self.digits(4)
        draw = self.random.random()
        if draw < 0.52:
            return self._ocr(head + a + b, 0.05)
        if draw < 0.72:
            separator = self.random.choice(["-", " ", "－", ".", "—", "  "])
            return separator.join((head, a, b))
        if draw < 0.76:
            return f"{head} {a}{b}"
        if draw < 0.86:
            prefix = self.random.choice(
                ["+86", "+86 ", "+86-", "86-", "(+86)", "（86）", "0086", "0086 ", "86"]
            )
            return prefix + self.random.choice([head + a + b, f"{head}-{a}-{b}", f"{head} {a} {b}"])
        if draw < 0.94:
            return _full_width(head + a + b)
        return "0" + head + a + b if self.chance(0.3) else f"{head}{a[:2]} {a[2:]}{b[:1]} {b[1:]}"

    def landline(self) -> str:
        area = self.random.choice(
            [
                "010",
                "021",
                "022",
                "028",
                "020",
                "023",
                "0571",
                "0574",
                "0512",
                "0755",
                "0371",
                "0816",
                "0817",
                "0991",
                "0451",
                "0871",
                "0531",
                "0731",
            ]
        )
        number = self.random.choice("2345678") + self.digits(7 if len(area) == 3 or self.chance(0.6) else 6)
        draw = self.random.random()
        if draw < 0.4:
            text = f"{area}-{number}"
        elif draw < 0.5:
            text = f"({area}){number}"
        elif draw < 0.6:
            text = f"（{area}）{number}"
        elif draw < 0.7:
            text = f"{area} {number}"
        elif draw < 0.8:
            text = f"{area}{number}"
        elif draw < 0.9:
            text = _full_width(f"{area}-{number}")
        else:
            text = f"{number[:4]}-{number[4:]}" if len(number) == 8 else number
        if self.chance(0.2):
            text += self.random.choice(["转", "-", "转分机", " 分机", "*", "转 "]) + self.digits(
                self.random.choice([3, 4])
            )
        return text

    def social(self) -> str:
        return self.random.choice(
            [
                self.digits(9),
                self.digits(10),
                f"{self.random.choice('ABCDEF')}{self.digits(8)}",
                self.digits(12),
                f"{self.digits(4)} {self.digits(4)} {self.digits(4)}",
            ]
        )

    def insurance(self) -> str:
        return self.random.choice(
            [
                self.digits(8),
                self.digits(10),
                f"YB{self.digits(10)}",
                f"{self.digits(4)}-{self.digits(4)}-{self.digits(4)}",
                self.digits(14),
                f"{self.digits(6)}D{self.digits(8)}",
            ]
        )

    # ---- numbers of records

    def _year(self) -> int:
        return self.random.randint(2012, 2026)

    def record_number(self) -> str:
        return self.random.choice(
            [
                self.digits(6),
                self.digits(7),
                self.digits(8),
                self.digits(10),
                f"00{self.digits(8)}",
                f"{self.random.choice(['ZY', 'BA', 'P', 'H', 'zy'])}{self.digits(8)}",
                f"{self._year()}{self.digits(5)}",
                f"{self._year()}-{self.digits(6)}",
                f"{self.random.choice('ABDM')}{self.digits(6)}-{self.digits(1)}",
                _full_width(self.digits(8)),
                self._ocr(self.digits(8), 0.3),
            ]
        )

    def visit_number(self) -> str:
        stamp = f"{self._year()}{self.random.randint(1, 12):02d}{self.random.randint(1, 28):02d}"
        return self.random.choice(
            [
                f"MZ{stamp}{self.digits(4)}",
                f"{stamp}{self.digits(4)}",
                f"{stamp}-{self.digits(3)}",
                f"M{self.digits(9)}",
                self.digits(9),
                f"OP-{self._year()}-{self.digits(5)}",
            ]
        )

    def bed(self) -> str:
        return self.random.choice(
            [
                str(self.random.randint(1, 68)),
                f"{self.random.randint(1, 60):02d}",
                f"+{self.random.randint(1, 9)}",
                f"加{self.random.randint(1, 9)}",
                f"{self.random.choice('ABCD')}-{self.random.randint(101, 1230)}",
                f"{self.random.randint(3, 18):02d}{self.random.randint(1, 40):02d}",
            ]
        )

    def imaging_number(self) -> str:
        return self.random.choice(
            [
                f"CT{self.digits(7)}",
                f"MR-{self._year()}-{self.digits(5)}",
                f"X{self.digits(8)}",
                f"DR{self._year()}{self.digits(5)}",
                self.digits(8),
                f"US{self._year()}-{self.digits(4)}",
                f"CT-{self.digits(6)}",
            ]
        )

    def pathology_number(self) -> str:
        year = self._year()
        return self.random.choice(
            [
                f"{year}-{self.digits(5)}",
                f"B{year}-{self.digits(5)}",
                f"S{year % 100}-{self.digits(5)}",
                f"{year % 100}-{self.digits(5)}",
                f"BL{self.digits(7)}",
                f"{year}{self.digits(6)}",
                f"F{year % 100}{self.digits(5)}",
            ]
        )

    # ---- places and institutions

    def _region(self) -> tuple[str, str, str]:
        province, cities, counties = self.random.choice(pools.REGIONS)
        return province, self.random.choice(cities.split()), self.random.choice(counties.split())

    def _building(self) -> str:
        n = self.random.randint
        return self.random.choice(
            [
                f"{n(1, 40)}号楼{n(1, 6)}单元{n(1, 32)}0{n(1, 4)}室",
                f"{n(1, 30)}栋{n(1, 33)}0{n(1, 8)}",
                f"{n(1, 60)}幢{n(1, 4)}单元{n(101, 1804)}",
                f"{n(1, 20)}-{n(1, 4)}-{n(101, 2602)}",
                f"{n(1, 24)}座{n(2, 30)}层{'ABCD'[n(0, 3)]}室",
                f"{n(1, 30)}#{n(101, 2203)}",
            ]
        )

    def address(self) -> str:
        n = self.random.randint
        place = self.random.choice(self.place_words)
        village = self.random.choice(self.village_words)
        if self.chance(0.2):
            city, districts = self.random.choice(pools.MUNICIPALITIES)
            head = city + self.random.choice(districts.split())
        else:
            province, city, county = self._region()
            head = self.random.choice([province + city + county, city + county, province + county, county])
        street = place + self.random.choice(["路", "街", "大道", "巷", "东路", "西街", "南路", "胡同"])
        lane = f"{self.random.choice(self.place_words)}路{n(2, 990)}弄{n(1, 60)}号{n(101, 604)}室"
        estate = place + self.random.choice(["小区", "花园", "苑", "新村", "家园", "公寓", "城"])
        hamlet = village + self.random.choice(["村", "屯", "庄", "寨"])
        tail = self.random.choice(
            [
                f"{street}{n(1, 600)}号",
                f"{street}{n(1, 600)}号{estate}{self._building()}",
                f"{estate}{self._building()}",
                lane,
                f"{place}镇{hamlet}{n(1, 18)}组",
                f"{place}乡{hamlet}{self.random.choice('一二三四五六七八九')}组{n(1, 199)}号",
                f"{place}街道{self.random.choice(self.place_words)}社区{n(1, 30)}号楼{n(101, 806)}",
                f"{place}镇{hamlet}{n(1, 300)}号",
            ]
        )
        draw = self.random.random()
        if draw < 0.8:
            return head + tail
        if draw < 0.93:
            return f"{estate}{self._building()}"
        return f"{street}{n(1, 600)}号"

    def origin(self) -> str:
        province, city, county = self._region()
        return self.random.choice(
            [
                province + city,
                province + county,
                city + county,
                province[:2] + city[:-1] if province[-1] == "省" and city[-1] == "市" else province + city,
            ]
        )

    def hospital(self) -> str:
        province, city, county = self._region()
        place = self.random.choice(self.place_words)
        brand = self.random.choice(self.brands)
        return self.random.choice(
            [
                f"{city}第{self.random.choice('一二三四五六')}人民医院",
                f"{city}人民医院",
                f"{county}中医院",
                f"{city}中心医院",
                f"{province}人民医院",
                f"{city[:-1]}医科大学附属第{self.random.choice('一二三')}医院"
                if city[-1] == "市"
                else f"{county}人民医院",
                f"{county}妇幼保健院",
                f"{city}{self.random.choice(['儿童', '肿瘤', '胸科', '口腔', '精神卫生'])}{self.random.choice(['医院', '医院', '中心'])}",
                f"{place}社区卫生服务中心",
                f"{place}镇卫生院",
                f"{place}{self.random.choice(['骨科', '康复', '眼科', '妇产'])}医院",
                f"{brand}诊所",
                f"{brand}口腔门诊部",
                f"{county}{place}镇中心卫生院",
                f"{place}村卫生室",
            ]
        )

    def department(self) -> str:
        ward = self.random.choice("一二三四五六七")
        return self.random.choice(
            [
                f"心血管内科{ward}病区",
                f"神经内科{ward}病区",
                f"普外{ward}科",
                f"骨{ward}科",
                f"呼吸与危重症医学科{self.random.randint(1, 9)}病区",
                f"消化内科{ward}区",
                f"肿瘤{ward}病房",
                f"内分泌科{self.random.randint(1, 12)}病房",
                "肝胆外科",
                "肾内科",
                "泌尿外科",
                "神经外科",
                "妇科",
                "耳鼻咽喉头颈外科",
                "康复医学科",
                "血液内科",
                "感染科",
                "中医科",
                "全科医学科",
                "老年医学科",
                "甲乳外科",
                "疼痛科",
            ]
        )

    def employer(self) -> str:
        _, city, county = self._region()
        brand = self.random.choice(self.brands)
        place = self.random.choice(self.place_words)
        return self.random.choice(
            [
                f"{city}{brand}机械有限公司",
                f"{brand}建筑集团第{self.random.choice('一二三')}分公司",
                f"{county}税务局",
                f"{place}纺织厂",
                f"{brand}物流{place}站点",
                f"{city}公交集团",
                f"{brand}电子科技有限公司",
                f"{county}{place}镇政府",
                f"{place}派出所",
                f"{brand}超市{place}店",
                f"{city}{brand}化工厂",
                f"{brand}酒店",
                f"国网{county}供电公司",
                f"{brand}煤矿",
                f"{city}自来水公司",
                f"{brand}装饰工程有限责任公司",
                f"中铁{self.random.choice('一二三四五')}局{brand}项目部",
            ]
        )

    def school(self) -> str:
        _, city, county = self._region()
        place = self.random.choice(self.place_words)
        return self.random.choice(
            [
                f"{city}第{self.random.choice('一二三四五六七八九')}中学",
                f"{place}小学",
                f"{county}实验小学",
                f"{place}幼儿园",
                f"{city[:-1]}大学" if city[-1] == "市" else f"{county}一中",
                f"{city}职业技术学院",
                f"{county}第一高级中学",
                f"{place}中心小学",
                f"{place}路小学",
                f"{city}外国语学校",
                f"{city[:-1]}师范学院" if city[-1] == "市" else f"{county}二中",
            ]
        )

    # ---- other direct identifiers

    def bank_card(self) -> str:
        head = self.random.choice(
            ["622202", "621700", "622848", "621661", "622588", "622262", "621226", "436742"]
        )
        body = head + self.digits(12 if head.startswith("62") and self.chance(0.8) else 9)
        total = sum(int(d) if i % 2 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(body)))
        number = body + str(-total % 10)
        draw = self.random.random()
        if draw < 0.3:
            return " ".join(number[i : i + 4] for i in range(0, len(number), 4))
        if draw < 0.4:
            return "-".join(number[i : i + 4] for i in range(0, len(number), 4))
        return _full_width(number) if draw < 0.46 else number

    def plate(self) -> str:
        province = self.random.choice("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼")
        letter = self.random.choice("ABCDEFGHJK")
        tail = "".join(
            self.random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(4)
        ) + self.digits(1)
        if self.chance(0.4):
            tail = self.digits(5)
        elif self.chance(0.25):
            tail = self.random.choice("DF") + self.digits(5)
        return province + letter + self.random.choice(["", "", "·", " ", "-", "."]) + tail

    def email(self) -> str:
        user = (
            self.random.choice(self.wechat_stems)
            + self.random.choice(["", ".", "_", ""])
            + self.digits(self.random.choice([2, 4]))
        )
        if self.chance(0.3):
            user = self.digits(9)
        text = (
            user
            + "@"
            + self.random.choice(
                [
                    "qq.com",
                    "163.com",
                    "126.com",
                    "gmail.com",
                    "sina.com.cn",
                    "outlook.com",
                    "foxmail.com",
                    "hospital.org.cn",
                    "zju.edu.cn",
                ]
            )
        )
        draw = self.random.random()
        if draw < 0.06:
            return _full_width(text)
        if draw < 0.1:
            return text.replace("@", " @ ")
        return text.upper() if draw < 0.14 else text

    def qq(self) -> str:
        number = self.random.choice("123456789") + self.digits(self.random.choice([6, 7, 8, 9]))
        return _full_width(number) if self.chance(0.08) else number

    def wechat(self) -> str:
        return self.random.choice(
            [
                f"wxid_{self.digits(4)}abc{self.digits(3)}",
                self.random.choice(self.wechat_stems) + self.digits(4),
                self.random.choice(self.wechat_stems) + "-" + self.digits(3),
                self.random.choice(self.wechat_stems) + "_" + self.digits(2),
            ]
        )

    # ---- times

    def date(self) -> str:
        """A date with its year, in one of many notations."""
        y, m, d = self._year(), self.random.randint(1, 12), self.random.randint(1, 28)
        if self.chance(0.1):
            y = self.random.randint(1935, 2011)
        han = "〇一二三四五六七八九"
        han_year = "".join(han[int(c)] for c in str(y))
        month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][m - 1]
        return self.random.choice(
            [
                f"{y}-{m:02d}-{d:02d}",
                f"{y}-{m:02d}-{d:02d}",
                f"{y}年{m}月{d}日",
                f"{y}年{m}月{d}日",
                f"{y}年{m:02d}月{d:02d}日",
                f"{y}.{m}.{d}",
                f"{y}.{m:02d}.{d:02d}",
                f"{y}/{m}/{d}",
                f"{y}/{m:02d}/{d:02d}",
                f"{y}{m:02d}{d:02d}",
                f"{y}年{m}月{d}号",
                f"{y % 100:02d}-{m}-{d}",
                f"{y % 100:02d}年{m}月{d}日",
                f"{y}年{m}月",
                f"{han_year}年{_han_number(m)}月{_han_number(d)}日",
                f"{y} 年 {m} 月 {d} 日",
                _full_width(f"{y}-{m:02d}-{d:02d}"),
                f"{d} {month} {y}",
                f"{month} {d}, {y}",
            ]
        )

    def day_and_month(self) -> str:
        m, d = self.random.randint(1, 12), self.random.randint(1, 28)
        return self.random.choice(
            [
                f"{m}月{d}日",
                f"{m}月{d}日",
                f"{m}月{d}号",
                f"{m:02d}月{d:02d}日",
                f"{_han_number(m)}月{_han_number(d)}日",
                f"{m:02d}-{d:02d}",
                f"{m}/{d}",
            ]
        )

    def age(self) -> str:
        """An age of 90 or more."""
        age = self.random.choices([*range(90, 104)], weights=[9, 8, 8, 7, 7, 6, 5, 4, 3, 2, 2, 1, 1, 1])[0]
        draw = self.random.random()
        if draw < 0.1 and age < 100:
            return "九十" + ("" if age == 90 else "一二三四五六七八九"[age - 91])
        return _full_width(str(age)) if draw < 0.15 else str(age)

    def _ocr(self, number: str, probability: float) -> str:
        """With `probability`, one or two digits read as the letters that look like them."""
        places = [i for i, c in enumerate(number) if i and c in _OCR]
        if not places or not self.chance(probability):
            return number
        text = list(number)
        for place in self.random.sample(places, min(len(places), self.random.choice([1, 2]))):
            text[place] = self.random.choice(_OCR[text[place]])
        return "".join(text)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _han_number(number: int) -> str:
    han = "零一二三四五六七八九"
    tens, ones = divmod(number, 10)
    return {0: "", 1: "十"}.get(tens, han[tens] + "十") + (han[ones] if ones else "")
