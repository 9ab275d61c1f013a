"""Notes of the second set: `templates.txt` filled with invented values, the place of each identifier known.

The set was written apart from `tests/recall` and without looking at the recognisers, and measures only: whoever
works on the recognisers looks at its sums and never at its misses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

_TEMPLATES = Path(__file__).parent / "templates.txt"
_SLOT = re.compile(r"\{([a-z]+)(\d?)\}")

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆"
_LESS_COMMON = "苗岑翟符佘邢屠臧仇柏宫覃蔺苟阚桑鄢楚缪晏敖冉檀隗呼亓麦仝逄冀"
_COMPOUND = ("欧阳", "司马", "上官", "诸葛", "皇甫", "尉迟", "令狐", "司徒", "夏侯", "端木")
_GIVEN = (
    "明华丽军敏静强磊洋艳勇娟涛超秀霞平刚桂英芳玉兰红梅春燕建国志伟晓东海波文彬雪琴淑珍凤仙永福德胜振宇浩然子涵"
    "梓轩雨桐欣怡嘉懿思远慧琳佩瑶培根松柏立新跃进援朝金生银花翠萍长河宝珠瑞祥书琪一诺沐宸可心若曦景行安琪"
)
_MINORITY = (
    *("巴桑卓玛", "次仁顿珠", "索南措", "格桑央金", "娜仁花", "苏日娜", "阿古达木", "哈斯其其格"),
    *("艾力·吐尔逊", "祖丽菲娅·艾合买提", "玉素甫江·卡德尔", "迪里努尔·阿不都拉", "库尔班江", "古丽米热"),
)
_FOREIGN = (
    "Liu Min",
    "ZHAO Lei",
    "Sun Xiaoyan",
    "Peter Novak",
    "Maria Santos",
    "Wu Jianguo",
    "Anna Kowalska",
)
_KIN = (
    *(
        "儿子",
        "女儿",
        "儿媳",
        "女婿",
        "丈夫",
        "妻子",
        "爱人",
        "老伴",
        "母亲",
        "父亲",
        "妈妈",
        "爸爸",
        "哥哥",
        "姐姐",
        "弟弟",
    ),
    *(
        "妹妹",
        "孙子",
        "孙女",
        "外孙",
        "外孙女",
        "奶奶",
        "外婆",
        "姑姑",
        "舅舅",
        "叔叔",
        "侄子",
        "侄女",
        "嫂子",
        "表哥",
        "堂弟",
    ),
)
_NICKNAMES = ("豆豆", "果果", "壮壮", "甜甜", "小宝", "圆圆", "乐乐", "妞妞", "石头", "团团")
_EMPLOYERS = (
    *(
        "昌隆五金制品厂",
        "顺达物流有限公司",
        "恒源纺织集团",
        "县自来水公司",
        "金碧洗浴中心",
        "城关镇粮管所",
        "市公交三公司",
    ),
    *(
        "华茂电子（苏州）有限公司",
        "红星煤矿",
        "第二建筑工程公司",
        "老街坊火锅店",
        "绿源超市",
        "国网平阳供电所",
        "向阳林场",
    ),
    *(
        "市公安局交警支队",
        "中铁十九局",
        "利民水泥厂",
        "云岭茶业",
        "博雅教育培训中心",
        "鑫鑫网吧",
        "宏达汽修厂",
        "海关缉私局",
    ),
)
_SCHOOLS = (
    *(
        "实验二小",
        "城南中学",
        "育才幼儿园",
        "湖滨职业技术学院",
        "东方红小学",
        "市第七中学",
        "师大附中",
        "金苹果双语幼儿园",
    ),
    *(
        "江北理工大学",
        "新华路小学",
        "卫生学校",
        "希望学校",
        "育英高级中学",
        "外国语学校",
        "财经大学",
        "盲聋哑学校",
        "农大",
    ),
)
_HOSPITALS = (
    *(
        "县人民医院",
        "市二院",
        "省立医院",
        "仁济堂诊所",
        "青阳镇中心卫生院",
        "武警总队医院",
        "安康妇产医院",
        "同德医院",
    ),
    *(
        "协和医院",
        "中山三院",
        "第四军医大学西京医院",
        "平安社区卫生服务中心",
        "市中医院",
        "齐鲁医院",
        "华西医院",
        "县妇幼保健院",
    ),
)
_DEPARTMENTS = (
    *(
        "呼吸内科",
        "骨二科",
        "心血管内科",
        "消化科",
        "神经外科",
        "普外一科",
        "妇产科",
        "儿科",
        "急诊科",
        "肿瘤科",
        "泌尿外科",
    ),
    *("耳鼻喉科", "风湿免疫科", "血液科", "内分泌科", "ICU", "康复医学科", "中医科", "疼痛科", "肾内科"),
)
_ADDRESSES = (
    *(
        "{p}清河县王官庄镇李家沟村{n}组",
        "{p}兴平市东城街道槐里路{n}号",
        "石桥镇大塘村{n}队",
        "幸福里小区{n}幢{m}单元{n}02室",
    ),
    *(
        "{p}临江县三道沟乡西屯",
        "解放南路{n}弄{m}号",
        "滨河花园{n}-{m}-{n}03",
        "{p}永宁县望洪镇东位村{n}社",
        "化工厂家属院{n}号楼",
    ),
    *(
        "{p}新城区长乐西路{n}号",
        "龙泉街道桃源社区",
        "和平巷{n}号院",
        "{p}铜山县柳泉乡",
        "北大街{n}号",
        "{p}安岳县石羊镇",
        "马家堡村",
    ),
    *(
        "天鹅湖畔{n}栋{m}楼",
        "{p}开发区科技三路{n}号创业大厦{m}层",
        "老城区鼓楼街{n}号附{m}号",
        "{p}海原县七营镇张堡村",
    ),
)
_PROVINCES = ("河北省", "陕西", "四川省", "宁夏", "江苏省", "甘肃省", "", "山东", "吉林省", "")
_CLINICAL = {
    "sym": (
        "头晕",
        "胸闷",
        "乏力",
        "腹痛",
        "恶心",
        "心悸",
        "皮疹",
        "腰痛",
        "关节肿痛",
        "气短",
        "纳差",
        "尿频",
    ),
    "dx": (
        "高血压病",
        "2型糖尿病",
        "慢性胃炎",
        "支气管炎",
        "脑梗死",
        "肺结节",
        "痛风",
        "甲状腺结节",
        "冠心病",
        "腰椎间盘突出",
    ),
    "rx": ("阿莫西林", "二甲双胍", "氨氯地平", "布洛芬", "奥美拉唑", "左氧氟沙星", "阿托伐他汀", "头孢克肟"),
    "test": ("胸部CT", "胃镜", "血常规", "头颅MRI", "动态心电图", "肝肾功能", "OCT"),
    "tcm": ("黄芪30g、白术15g、当归10g", "熟地20g、山药15g、杜仲12g", "柴胡10g、黄芩10g、半夏9g"),
    "kin": _KIN,
}


def note(template: str, random: Random) -> tuple[str, list[tuple[int, int, str]], dict[str, str], list[str]]:
    """The filled text, its identifiers as (start, end, kind), the row's columns and the staff's names."""
    values: dict[str, str] = {}
    truth: list[tuple[int, int, str]] = []
    staff: list[str] = []
    text, at = "", 0
    for slot in _SLOT.finditer(template):
        text += template[at : slot.start()]
        at = slot.end()
        name, number = slot.groups()
        if name in _CLINICAL:
            text += random.choice(_CLINICAL[name])
            continue
        kind, make = _SLOTS[name]
        # a patient, a phone number or an address written twice need not be the same one, except the patient
        key = name if name == "p" else f"{name}{number}{slot.start()}"
        value = values.setdefault(key, make(random))
        truth.append((len(text), len(text) + len(value), kind))
        if name == "s":
            staff.append(value)
        text += value
    row = {"patient_name": values["p"]} if "p" in values else {}
    return text + template[at:], truth, row, staff


def templates() -> list[str]:
    """The note templates: blocks parted by an empty line."""
    return [block.strip("\n") for block in _TEMPLATES.read_text(encoding="utf-8").split("\n\n")]


def person(random: Random) -> str:
    """A Chinese name; one in ten with a rare, one in thirty with a two-character surname, a few of other peoples."""
    draw = random.random()
    if draw < 0.04:
        return random.choice(_MINORITY)
    surname = random.choice(
        _COMPOUND if draw < 0.075 else tuple(_LESS_COMMON) if draw < 0.18 else tuple(_SURNAMES)
    )
    return surname + "".join(random.sample(_GIVEN, 1 if random.random() < 0.22 else 2))


def _digits(random: Random, count: int) -> str:
    return str(random.randint(1, 9)) + "".join(str(random.randint(0, 9)) for _ in range(count - 1))


def _id_card(random: Random) -> str:
    body = f"{random.choice(('130424', '610113', '510723', '320826'))}{random.randint(1938, 2018)}{random.randint(1, 12):02}{random.randint(1, 28):02}{random.randint(0, 999):03}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def _bank_card(random: Random) -> str:
    body = "62284" + _digits(random, 13)
    total = sum(
        sum(divmod(int(digit) * (2 if place % 2 == 0 else 1), 10))
        for place, digit in enumerate(reversed(body))
    )
    return body + str(-total % 10)


def _mobile(random: Random) -> str:
    number = random.choice(("138", "139", "150", "177", "186", "199")) + _digits(random, 8)
    return random.choice((number, number, number, f"{number[:3]}-{number[3:7]}-{number[7:]}"))


def _date(random: Random) -> str:
    year, month, day = random.randint(2016, 2024), random.randint(1, 12), random.randint(1, 28)
    return random.choice(
        (
            *(f"{year}-{month:02}-{day:02}", f"{year}年{month}月{day}日", f"{year}.{month}.{day}"),
            *(
                f"{month}月{day}日",
                f"{year}/{month}/{day}",
                f"{year}年{month}月",
                f"{year}{month:02}{day:02}",
            ),
        )
    )


def _lunar(random: Random) -> str:
    month = random.choice(("正月", "二月", "五月", "八月", "腊月"))
    return month + random.choice(("初三", "十五", "廿六", "初九", "二十"))


def _address(random: Random) -> str:
    return random.choice(_ADDRESSES).format(
        p=random.choice(_PROVINCES), n=random.randint(1, 40), m=random.randint(1, 9)
    )


def _exam(random: Random) -> str:
    return random.choice(
        (
            _digits(random, 8),
            "CT" + _digits(random, 7),
            f"US{random.randint(2018, 2024)}{_digits(random, 6)}",
            f"{random.randint(2018, 2024)}-{_digits(random, 5)}",
            "MR" + _digits(random, 6),
            "B" + _digits(random, 6),
        )
    )


def _plate(random: Random) -> str:
    return (
        random.choice("冀陕川苏鲁京")
        + random.choice("ABCD")
        + random.choice(("", "·"))
        + "".join(random.choice("ABCDEFGHJK23456789") for _ in range(5))
    )


def _title(random: Random) -> str:
    surname = random.choice(_SURNAMES)
    return random.choice(
        (f"老{surname}", f"{surname}大爷", f"{surname}阿姨", f"{surname}女士", f"{surname}先生")
    )


def _words(*pool: str) -> Callable[[Random], str]:
    return lambda random: random.choice(pool)


# slot of a template -> kind of identifier and how its value is drawn
_SLOTS: dict[str, tuple[str, Callable[[Random], str]]] = {
    "p": ("PATIENT_NAME", person),
    "s": ("STAFF_NAME", person),
    "r": ("RELATIVE_NAME", person),
    "en": ("PATIENT_NAME", _words(*_FOREIGN)),
    "min": ("PATIENT_NAME", _words(*_MINORITY)),
    "nick": ("PATIENT_NAME", _words(*_NICKNAMES)),
    "sur": ("PATIENT_NAME", _words(*_SURNAMES)),
    "title": ("PATIENT_NAME", _title),
    "id": ("ID_CARD", _id_card),
    "mob": ("MOBILE", _mobile),
    "tel": ("LANDLINE", lambda random: f"0{random.randint(310, 999)}-{_digits(random, 7)}"),
    "mail": (
        "EMAIL",
        lambda random: f"{random.choice(('lily', 'wgq', 'sunny'))}{_digits(random, 4)}@163.com",
    ),
    "rec": ("RECORD_NUM", lambda random: random.choice(("", "", "ZY", "Z")) + _digits(random, 8)),
    "visit": ("VISIT_NUM", lambda random: random.choice(("", "MZ")) + _digits(random, 10)),
    "bed": ("BED_NUM", lambda random: random.choice(("", "加")) + str(random.randint(1, 60))),
    "exam": ("EXAM_NUM", _exam),
    "ins": ("INSURANCE_NUM", lambda random: random.choice(("", "YB")) + _digits(random, 12)),
    "bank": ("BANK_CARD", _bank_card),
    "permit": ("PERMIT", lambda random: random.choice("HMC") + _digits(random, 8)),
    "pass": ("PASSPORT", lambda random: random.choice("EG") + _digits(random, 8)),
    "plate": ("PLATE", _plate),
    "qq": ("QQ", lambda random: _digits(random, 9)),
    "wx": ("WECHAT", lambda random: random.choice(("wxid_", "kk", "sunny-")) + _digits(random, 7)),
    "addr": ("ADDRESS", _address),
    "emp": ("EMPLOYER", _words(*_EMPLOYERS)),
    "school": ("SCHOOL", _words(*_SCHOOLS)),
    "hosp": ("HOSPITAL", _words(*_HOSPITALS)),
    "dept": ("DEPARTMENT", _words(*_DEPARTMENTS)),
    "date": ("DATE", _date),
    "lunar": ("DATE", _lunar),
    "age": ("AGE90", lambda random: f"{random.randint(90, 101)}岁"),
}
