"""Every kind of identifier, found in the forms that people write, and left alone where it only looks like one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.deidentify import KINDS, Deidentifier, card, names, recognisers, register
from emr_fl_shared.deidentify import recognisers as lookup
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.recognisers.id_card import checksum_fits
from emr_fl_shared.deidentify.recognisers.numbers import luhn_fits
from emr_fl_shared.errors import UsageError

CLEANER = Deidentifier(key=b"test")

# «…» marks what must go; the kind is that of the placeholder expected there.
FOUND = [
    ("PATIENT_NAME", "患者姓名：«高兴»，性别：女"),
    ("PATIENT_NAME", "姓名:«江山» 年龄:45岁"),
    ("PATIENT_NAME", "姓名«张建国»性别男年龄65岁"),
    ("PATIENT_NAME", "姓名：«张 强»，男"),
    ("PATIENT_NAME", "姓名：«欧阳静怡»因咳嗽就诊"),
    ("PATIENT_NAME", "患者姓名：«阿依古丽·买买提»，女"),
    ("PATIENT_NAME", "«古丽娜尔·艾合买提»，女，34岁"),
    ("PATIENT_NAME", "患者«王芳»，女，45岁"),
    ("PATIENT_NAME", "«李国强»，男，发热3天"),
    ("PATIENT_NAME", "患者«陈小红»因腹痛2小时入院"),
    ("PATIENT_NAME", "患儿«刘子涵»于昨日发热"),
    ("PATIENT_NAME", "病人«赵六»，诉头晕"),
    ("PATIENT_NAME", "«张»先生，诉胸闷"),
    ("PATIENT_NAME", "«李某某»，男，因外伤来诊"),
    ("PATIENT_NAME", "患者«何平»自诉乏力"),
    ("PATIENT_NAME", "姓名：«Zhang San»，外籍"),
    ("STAFF_NAME", "医师签名：«李明»"),
    ("STAFF_NAME", "请«王»主任会诊"),
    ("STAFF_NAME", "请神经内科«王建国»主任查房"),
    ("STAFF_NAME", "遵«欧阳»教授意见"),
    ("STAFF_NAME", "主治医师：«余可欣»"),
    ("STAFF_NAME", "责任护士：«陈静»"),
    ("STAFF_NAME", "术者«李建华»，手术顺利"),
    ("STAFF_NAME", "«孙»大夫建议手术"),
    ("RELATIVE_NAME", "其子«高兴»陪同就诊"),
    ("RELATIVE_NAME", "由其妻«建华»代诉"),
    ("RELATIVE_NAME", "女儿«李娜»（电话不详）"),
    ("RELATIVE_NAME", "家属（«王强»）签字"),
    ("RELATIVE_NAME", "联系人：«刘洋»，配偶"),
    ("RELATIVE_NAME", "监护人:«周杰»"),
    ("ID_CARD", "身份证号11010519491231002X"),
    ("ID_CARD", "身份证：110105194912310021"),  # the check digit is wrong
    ("ID_CARD", "证件号１１０１０５１９４９１２３１００２Ｘ"),
    ("ID_CARD", "号码110105 19491231 002X"),
    ("ID_CARD", "号码110105-1949-1231-002X"),
    ("ID_CARD", "11O1051949l231002X"),
    ("ID_CARD", "老证130503670401001"),
    ("ID_CARD", "«110105194912310021»2.出院带药"),
    ("ID_CARD", "身份证110105********002X"),
    ("PHONE", "联系电话：13800138000"),
    ("PHONE", "手机138-0013-8000"),
    ("PHONE", "手机 138 0013 8000"),
    ("PHONE", "电话１３８００１３８０００"),
    ("PHONE", "电话l38OO138000"),
    ("PHONE", "电话+86 13800138000"),
    ("PHONE", "电话«13800138000»2.不适随诊"),
    ("PHONE", "1.«13800138000»"),
    ("PHONE", "座机010-62345678"),
    ("PHONE", "(0571)87654321"),
    ("PHONE", "热线400-800-1234"),
    ("PHONE", "电话：6234567"),
    ("PHONE", "手机138****8000"),
    ("PHONE", "电话一三八零零一三八零零零"),
    ("PHONE", "手机尾号«8000»"),
    ("ADDRESS", "家住«北京市朝阳区建国路88号院3号楼2单元501»"),
    ("ADDRESS", "住址：«幸福里12栋301»"),
    ("ADDRESS", "现住«河南省固始县陈淋子镇孙滩村3组»"),
    ("ADDRESS", "事故发生于«解放路118号»"),
    ("ADDRESS", "«阳光花园3栋2单元1201室»漏水后跌倒"),
    ("ADDRESS", "籍贯：«山东省曹县»"),
    ("ADDRESS", "户籍地址：«浙江省温州市鹿城区南门街道»"),
    ("ADDRESS", "«清水镇石门村»村民"),
    ("RECORD_NUM", "住院号00123456"),
    ("RECORD_NUM", "病历号：ZY2024001"),
    ("RECORD_NUM", "病案号 1234567"),
    ("RECORD_NUM", "0001163476"),
    ("RECORD_NUM", "MRN：8812345"),
    ("VISIT_NUM", "门诊号：240311001"),
    ("VISIT_NUM", "就诊卡号 A00123456"),
    ("VISIT_NUM", "流水号：MZ20240311001"),
    ("BED_NUM", "12床"),
    ("BED_NUM", "床号：«加3»"),
    ("BED_NUM", "收入«23床»，完善检查"),
    ("BED_NUM", "«ICU5床»，镇静中"),
    ("BED_NUM", "«21+2床»"),
    ("EXAM_NUM", "CT号：123456"),
    ("EXAM_NUM", "病理号P2024-00123"),
    ("EXAM_NUM", "超声号US20240001"),
    ("INSURANCE_NUM", "医保卡号：A123456789"),
    ("INSURANCE_NUM", "社会保障号 310123456789"),
    ("BANK_CARD", "银行卡号6222021234567890123"),
    ("BANK_CARD", "转账4111 1111 1111 1111"),
    ("PLATE", "驾驶«京A12345»追尾"),
    ("PLATE", "车牌号：沪B·D5678"),
    ("PLATE", "新能源粤BD12345"),
    ("PASSPORT", "护照号E12345678"),
    ("PASSPORT", "护照：P1234567"),
    ("PERMIT", "港澳通行证C12345678"),
    ("PERMIT", "台胞证号12345678"),
    ("EMAIL", "发至zhang.san@example.com"),
    ("EMAIL", "邮箱ｚｓ＠ｅｘａｍｐｌｅ．ｃｎ"),
    ("QQ", "QQ：123456789"),
    ("QQ", "加QQ群 98765432"),
    ("WECHAT", "微信号：wxid_abc123"),
    ("WECHAT", "微信zhangsan_88"),
    ("HOSPITAL", "曾在«北京协和医院»住院"),
    ("HOSPITAL", "3天前就诊于«阳谷县人民医院»"),
    ("HOSPITAL", "由«上海交通大学医学院附属瑞金医院»转来"),
    ("HOSPITAL", "于«市三院»就诊"),
    ("HOSPITAL", "在«协和»就诊"),
    ("HOSPITAL", "在«301医院»手术"),
    ("HOSPITAL", "至«清河镇卫生院»输液"),
    ("HOSPITAL", "«康美口腔诊所»拔牙"),
    ("DEPARTMENT", "收入«心内科二病区»"),
    ("DEPARTMENT", "«骨三科»住院"),
    ("DEPARTMENT", "科室：«神经外科»"),
    ("EMPLOYER", "就职于«恒通物流有限公司»"),
    ("EMPLOYER", "工作单位：«红星机械厂»"),
    ("EMPLOYER", "在«红星机械厂»上班"),
    ("SCHOOL", "就读于«育才中学»"),
    ("SCHOOL", "«向阳幼儿园»多名儿童腹泻"),
    ("SCHOOL", "«衡水一中»学生"),
    ("DATE", "«2024年3月5日»起病"),
    ("DATE", "«2024-03-05»就诊"),
    ("DATE", "«2024.3.5»入院"),
    ("DATE", "«2024/03/05» 09:30"),
    ("DATE", "«20240305»复查"),
    ("DATE", "«２０２４年３月５日»"),
    ("DATE", "«3月5日»手术"),
    ("DATE", "«2024年3月»确诊"),
    ("DATE", "«24年3月5日»"),
    ("DATE", "LMP：«3.5»"),
    ("DATE", "«二〇二四年三月五日»"),
    ("DATE", "采血«20240311093000»"),
    ("AGE90", "患者«95岁»"),
    ("AGE90", "«九十三岁»"),
    ("AGE90", "年龄：«101»"),
    ("AGE90", "其父«92 岁»去世"),
    ("AGE90", "现年«98»，独居"),
    # weaknesses that the generated set of tests/recall showed, with other words
    ("PHONE", "电话«0086 13700137000»"),
    ("PHONE", "手机«139  0013  9000»"),
    ("PHONE", "致电«0591-87654321转分机 12»"),
    ("WECHAT", "WeChat ID: «blue_sky88»"),
    ("WECHAT", "加v：«qingfeng-7»"),
    ("QQ", "QQ（«87654321»）"),
    ("PERMIT", "香港身份证«C668668(9)»"),
    ("PASSPORT", "护照（«K1234567»）"),
    ("RECORD_NUM", "介入室编号«B302114-2»"),
    ("RECORD_NUM", "请调«66520318»这个号"),
    ("EXAM_NUM", "术后（«S21-00417»）回报"),
    ("ID_CARD", "B.证件«110101199003077512»C.已婚"),
    ("BED_NUM", "|床号|«+4»|"),
    ("DATE", "«7 Mar 2021» 复诊"),
    ("DATE", "于«Jun 3, 2020»入院"),
    ("DATE", "|入院|«21-4-9»|"),
    ("DATE", "患儿«9/17»接触水痘患儿"),
    ("DATE", "«06-09»返院"),
    ("ADDRESS", "出生地«浙江嘉兴»，教师"),
    ("ADDRESS", "独居于«即墨区田横镇小营村3组»。"),
    ("ADDRESS", "现住«碧水苑9#1203»。"),
    ("ADDRESS", "户籍«江苏省南通市如东县河口镇东街社区中坝新村北区25号楼1204»，"),
    ("ADDRESS", "独居于«金华花园3#1253»。"),
    ("DEPARTMENT", "在我院«风湿免疫科»住院"),
    ("EMPLOYER", "在«镇江市自来水公司»上班"),
    ("EMPLOYER", "单位：«万家超市城东店»"),
    ("HOSPITAL", "在«宁夏回族自治区人民医院»就诊"),
    ("STAFF_NAME", "随访人«高建华»，电话随访"),
    ("STAFF_NAME", "医 师 ：«马晓东»"),
    ("STAFF_NAME", "签名：«苏 小 梅»"),
    ("STAFF_NAME", "Dr. «马晓东»"),
    ("STAFF_NAME", "评定者«央金旺姆»，"),
    ("RELATIVE_NAME", "护工«万小芳»照看"),
    ("RELATIVE_NAME", "户名«于晓燕»。"),
    ("RELATIVE_NAME", "其兄«买买提江.沙比尔»陪同"),
    ("PATIENT_NAME", "|«秦小梅»|"),
    ("PATIENT_NAME", "已收 «郑 建 国» 标本"),
]


def _marked(text: str) -> tuple[str, str, str]:
    """Text before, inside and behind the marks; without marks the identifier reaches from the first digit, Latin letter
    or plate to the last."""
    if "«" in text:
        before, rest = text.split("«")
        inside, behind = rest.split("»")
        return before, inside, behind
    first = next(i for i, char in enumerate(fold(text)) if char.isascii() and char.isalnum())
    return text[:first], text[first:], ""


@pytest.mark.parametrize(("kind", "marked"), FOUND, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(FOUND)])
def test_found(kind: str, marked: str) -> None:
    text = marked.replace("«", "").replace("»", "")
    cleaned, spans = CLEANER.text(text)
    assert f"[{kind}]" in cleaned, (cleaned, [(span.kind, text[span.start : span.end]) for span in spans])
    if "«" in marked:
        before, _, behind = _marked(marked)
        assert cleaned == f"{before}[{kind}]{behind}"


def test_every_kind_has_an_example() -> None:
    assert {kind for kind, _ in FOUND} == set(KINDS)


@pytest.mark.parametrize(
    "text",
    [
        "其子宫增大", "患者于昨日", "患者高热不退", "主任医师查房", "家属要求出院", "签名：见签字页", "姓名：不详", "联系人：无",
        "血压138/80mmHg", "血小板138000", "HCG 13800138mIU/ml", "3-5天", "120×80mm", "第12床位", "床边B超", "2.5cm", "1/2片",
        "3月余", "2019年", "半年前", "5月龄", "09:30", "89岁", "心率95次", "90岁以上", "年龄9月", "我院", "当地医院", "中医院就诊",
        "心内科", "请心内科会诊", "建议骨科就诊", "2019-2023年", "1/3处", "肌力4/5级", "10-12天拆线", "家属高血压", "20余天来乏力", "考虑柴胡可能", "小学", "大学生", "来自山东", "北京市", "现住院", "居住环境差", "微信随访", "电话随访", "护照", "车牌",
    ],
)  # fmt: skip
def test_left_alone(text: str) -> None:
    assert CLEANER.text(text) == (text, [])


@pytest.mark.parametrize(
    "text", ["患者[PATIENT_NAME]，[DATE]在[HOSPITAL]就诊", "姓名：[PATIENT_NAME]", "[UNKNOWN_KIND]床"]
)
def test_placeholders_are_left_alone(text: str) -> None:
    assert CLEANER.text(text) == (text, [])


def test_checksums() -> None:
    assert checksum_fits("11010519491231002X")  # the example of GB 11643-1999
    assert not checksum_fits("110105194912310021")
    assert luhn_fits("4111111111111111") and not luhn_fits("4111111111111112")


def test_names_of_recognisers_and_an_unknown_one() -> None:
    assert names() == (
        "address", "ages", "bare_names", "contact", "dates", "flanked_names", "id_card", "known", "likely_names", "names", "numbers", "organisations", "phone"
    )  # fmt: skip
    assert [item.name for item in recognisers(["phone", "dates"])] == ["phone", "dates"]
    with pytest.raises(UsageError, match="address, ages, bare_names"):
        lookup(["phones"])
    with pytest.raises(UsageError):
        register(type("Nameless", (), {"name": ""}))
    assert {kind for item in recognisers() for kind in item.kinds} == set(KINDS)


def test_every_recogniser_has_a_card() -> None:
    for name in names():
        shown = card(name)
        assert shown.sources and shown.examples and name in (shown.name,), name
        assert {found.kind for found in shown.recall} == set(shown.kinds), name
        assert all(0 <= found.text_only <= found.planted > 0 for found in shown.recall), name
        for source in shown.sources:
            if source.endswith((".txt", ".tsv")):
                assert (files("emr_fl_shared") / "resources" / "deidentify" / source).is_file(), source
    with pytest.raises(UsageError):
        card("phones")


def test_a_name_announced_once_is_found_again() -> None:
    cleaned = CLEANER.text("患者姓名：逄子豪。逄子豪平素体健，昨日逄子豪自行离院")[0]
    assert "逄" not in cleaned and cleaned.count("[PATIENT_NAME]") == 3
    assert CLEANER.text("8床方晓明血钾3.1mmol/L")[0] == "[BED_NUM][PATIENT_NAME]血钾3.1mmol/L"


def test_documentation_examples() -> None:
    import emr_fl_shared.deidentify as package

    modules = [
        item.name
        for item in pkgutil.walk_packages(package.__path__, "emr_fl_shared.deidentify.")
        if not item.ispkg
    ]
    assert len(modules) > 15
    attempted = 0
    for name in modules:
        outcome = doctest.testmod(importlib.import_module(name))
        assert outcome.failed == 0, name
        attempted += outcome.attempted
    assert attempted > 20


CHARACTERS = "患者其子医师签名姓张王高何于：，。()床号医院路省市县区镇村岁年月日主任某·[]0123456789xX-. 电话手机身份证AB京住在就读小学\n１２Ｏlo"


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(CHARACTERS, max_size=80)))
def test_any_text_is_cleaned_once_and_for_all(text: str) -> None:
    assert len(fold(text)) == len(text)
    cleaned, spans = CLEANER.text(text)
    assert all(0 <= span.start < span.end <= len(text) and span.kind in KINDS for span in spans)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    assert CLEANER.text(cleaned) == (cleaned, [])


@settings(max_examples=100, deadline=None)
@given(
    st.text(CHARACTERS, max_size=60),
    st.dictionaries(
        st.sampled_from(["patient_name", "phone", "bed", "address", "hospital"]),
        st.text(CHARACTERS, max_size=12),
    ),
)
def test_any_row_is_borne(text: str, known: dict[str, str]) -> None:
    cleaned, _ = CLEANER.text(text, known)
    assert CLEANER.text(cleaned, known)[0] == cleaned
