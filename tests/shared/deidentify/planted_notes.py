"""Invented notes with planted identifiers, for measuring recall. Nothing here is taken from a real record.

Templates and word lists are written for these tests alone: the package's own lists and the sample federation are not used.
`{KIND:row}` plants a value of KIND and, with `row`, puts it into the row's identifier columns too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from emr_fl_shared.deidentify import Planted

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
GIVEN = [
    "建军", "淑珍", "晓燕", "志强", "丽华", "玉兰", "桂芝", "国庆", "永福", "雨桐", "子涵", "浩然", "欣怡", "俊杰", "凤英",
    "敏", "伟", "静", "磊", "婷", "涛", "红", "刚", "洁", "宁", "秀云", "春梅", "海波", "文博", "思远", "长根", "金凤", "宝珠",
    "一鸣", "可欣", "亦菲", "若曦", "承志", "德胜", "爱国", "援朝", "跃进", "来娣", "招弟", "木兰", "霁", "翀", "骁", "懿轩", "梓萱",
]  # fmt: skip
WORD_NAMES = [
    "高兴",
    "江山",
    "方圆",
    "白云",
    "温馨",
    "马达",
    "石磊",
    "黄河",
    "常胜",
    "安康",
    "成双",
    "时光",
    "金星",
    "田园",
    "任重",
]
PEOPLES = ["热依汗·艾山", "迪丽努尔·吐尔逊", "阿不都·热西提", "旦增·罗布", "乌兰·其其格", "帕尔哈提·买买提"]
CITIES = [
    "河北省邯郸市",
    "山西省大同市",
    "湖南省衡阳市",
    "四川省绵阳市",
    "云南省曲靖市",
    "湖北省襄阳市",
    "江西省赣州市",
    "北京市",
]
DISTRICTS = ["永年区", "城北区", "高新区", "南部县", "平江县", "朝阳区", "罗平县", "章贡区"]
STREETS = ["光明路", "人民东路", "胜利街", "解放大道", "春晖巷", "沿江北路", "工农街"]
VILLAGES = ["桃源镇石岭村", "双河乡东风村", "青山镇大坝村四组", "马店乡王庄村"]
ESTATES = ["阳光花园", "学府家园", "滨江小区", "盛世名苑", "水岸新村"]
HOSPITALS = [
    "衡州市第二人民医院", "邯城县中医院", "绵州市中心医院", "南华大学附属第一医院", "滨河区妇幼保健院", "青山镇卫生院",
    "省肿瘤医院", "仁爱骨科医院", "市三院", "北京友谊医院", "德康口腔诊所", "襄州职工医院", "解放军第八九医院", "同安堂中医馆",
]  # fmt: skip
EMPLOYERS = [
    "宏图电子厂",
    "中原铸造有限公司",
    "天马物流集团",
    "红旗煤矿",
    "惠民超市",
    "市供电局",
    "鑫源纺织厂",
]
SCHOOLS = ["第二实验小学", "衡州一中", "蓝天幼儿园", "邯城职业学校", "南华大学", "育英中学"]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Values:
    """Draws identifiers. Every one is invented; ID cards carry a valid check digit in half of the cases only."""

    def __init__(self, rng: random.Random, surnames: str = SURNAMES, given: Sequence[str] = GIVEN) -> None:
        self.rng = rng
        self.surnames = surnames
        self.given = given

    def digits(self, number: int) -> str:
        return "".join(self.rng.choice("0123456789") for _ in range(number))

    def draw(self, kind: str) -> str:
        return str(getattr(self, kind.lower())())

    def name(self) -> str:
        roll = self.rng.random()
        if roll < 0.06:
            return self.rng.choice(WORD_NAMES)
        if roll < 0.09:
            return self.rng.choice(PEOPLES)
        if roll < 0.12:
            return self.rng.choice(["欧阳", "司徒", "上官", "诸葛"]) + self.rng.choice(self.given)
        return self.rng.choice(self.surnames) + self.rng.choice(self.given)

    patient_name = staff_name = relative_name = name

    def surname_only(self) -> str:
        return self.rng.choice(self.surnames)

    def spaced(self, value: str) -> str:
        roll = self.rng.random()
        if roll < 0.7:
            return value
        if roll < 0.8:
            return "".join(chr(ord(char) + 0xFEE0) for char in value)
        mark = self.rng.choice(" -")
        size = self.rng.choice((3, 4))
        return mark.join(value[i : i + size] for i in range(0, len(value), size))

    def id_card(self) -> str:
        body = f"{self.rng.choice(('130400', '430421', '510722', '360702', '110105'))}"
        body += f"{self.rng.randint(1935, 2015)}{self.rng.randint(1, 12):02d}{self.rng.randint(1, 28):02d}{self.digits(3)}"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
        return body + (check if self.rng.random() < 0.5 else self.rng.choice("0123456789X"))

    def phone(self) -> str:
        if self.rng.random() < 0.2:
            return f"0{self.rng.choice(('310', '734', '816', '797'))}{self.rng.choice(('-', ''))}{self.rng.randint(2, 8)}{self.digits(6)}"
        number = self.rng.choice(("138", "139", "150", "177", "189", "199", "166")) + self.digits(8)
        if self.rng.random() < 0.05:
            number = number[0] + number[1:].replace("0", "O", 1)
        return self.spaced(number)

    def address(self) -> str:
        roll = self.rng.random()
        number = self.rng.randint(1, 300)
        if roll < 0.4:
            return (
                f"{self.rng.choice(CITIES)}{self.rng.choice(DISTRICTS)}{self.rng.choice(STREETS)}{number}号"
            )
        if roll < 0.7:
            return f"{self.rng.choice(CITIES)}{self.rng.choice(DISTRICTS)}{self.rng.choice(VILLAGES)}"
        return f"{self.rng.choice(ESTATES)}{number % 30 + 1}栋{number % 4 + 1}单元{number % 20 + 1}02室"

    def hospital(self) -> str:
        return self.rng.choice(HOSPITALS)

    def employer(self) -> str:
        return self.rng.choice(EMPLOYERS)

    def school(self) -> str:
        return self.rng.choice(SCHOOLS)

    def department(self) -> str:
        return self.rng.choice(["心内科二病区", "骨三科", "呼吸内科12病区", "普外科一病房", "内科三区"])

    def bed_num(self) -> str:
        return self.rng.choice(["{}床", "加{}床", "{}号床", "{}A床"]).format(self.rng.randint(1, 60))

    def record_num(self) -> str:
        return self.rng.choice(["", "ZY", "B"]) + self.digits(8)

    def visit_num(self) -> str:
        return self.rng.choice(["", "MZ", "G"]) + self.digits(self.rng.randint(5, 12))

    def exam_num(self) -> str:
        return self.rng.choice(["", "CT", "US", "P"]) + self.digits(8)

    def insurance_num(self) -> str:
        return self.rng.choice(LETTERS) + self.digits(9)

    def bank_card(self) -> str:
        return "6222" + self.digits(15)

    def plate(self) -> str:
        return (
            self.rng.choice("冀湘川赣京鄂云")
            + self.rng.choice(LETTERS)
            + self.rng.choice(["", "·"])
            + self.digits(5)
        )

    def passport(self) -> str:
        return self.rng.choice(["E", "G"]) + self.digits(8)

    def permit(self) -> str:
        return self.rng.choice(["H", "M", "C"]) + self.digits(8)

    def email(self) -> str:
        return f"u{self.digits(4)}.x@mail.example.com"

    def qq(self) -> str:
        return "5" + self.digits(8)

    def wechat(self) -> str:
        return "wx_" + self.digits(6)

    def date(self) -> str:
        year, month, day = self.rng.randint(2008, 2025), self.rng.randint(1, 12), self.rng.randint(1, 28)
        return self.rng.choice(
            [
                f"{year}-{month:02d}-{day:02d}", f"{year}年{month}月{day}日", f"{year}/{month}/{day}", f"{year}.{month:02d}.{day:02d}",
                f"{month}月{day}日", f"{year}年{month}月", f"{year}{month:02d}{day:02d}", f"{year % 100:02d}年{month}月{day}日",
            ]
        )  # fmt: skip

    def age90(self) -> str:
        return self.rng.choice(["{}岁", "{} 岁", "{}周岁"]).format(self.rng.randint(90, 104))


TEMPLATES = [
    "患者{PATIENT_NAME:row}，因“反复胸闷2月”来诊，血压130/80mmHg。",
    "{PATIENT_NAME:row}，女，56岁，左膝疼痛5年，加重1周。",
    "姓名：{PATIENT_NAME} 性别：男 年龄：63岁 主诉：咳嗽3天",
    "患者姓名:{PATIENT_NAME},身份证号:{ID_CARD},联系电话:{PHONE}",
    "患儿{PATIENT_NAME:row}于昨日进食后出现呕吐，共4次。",
    "病人{PATIENT_NAME:row}自诉头晕，无视物旋转，予天麻素治疗。",
    "其子{RELATIVE_NAME}陪同就诊，诉夜间睡眠差。",
    "由其女儿{RELATIVE_NAME}代诉病史，电话{PHONE}。",
    "已向家属（{RELATIVE_NAME}）交代病情，表示理解。",
    "联系人：{RELATIVE_NAME}，关系：配偶，手机{PHONE}。",
    "病史由丈夫{RELATIVE_NAME}提供，可靠。",
    "母亲{RELATIVE_NAME}签字同意治疗。",
    "监护人:{RELATIVE_NAME}({PHONE})。",
    "请心内科{STAFF_NAME}主任会诊后调整用药。",
    "{STAFF_NAME:row}医生接诊，建议完善头颅CT。",
    "医师签名：{STAFF_NAME}",
    "主治医师：{STAFF_NAME}/住院医师：{STAFF_NAME} {DATE}",
    "{SURNAME_ONLY}主任查房示：继续目前治疗，注意血糖波动。",
    "护士{STAFF_NAME}已告知注意事项。",
    "责任护士：{STAFF_NAME}；记录者：{STAFF_NAME}",
    "遵{SURNAME_ONLY}大夫意见，停用阿司匹林。",
    "家住{ADDRESS}，独居，平素体健。",
    "住址：{ADDRESS} 电话：{PHONE}",
    "户籍地址：{ADDRESS}；身份证{ID_CARD}",
    "现居住于{ADDRESS}，务农。",
    "3年前于{HOSPITAL}诊断糖尿病，口服二甲双胍。",
    "曾在{HOSPITAL}行胆囊切除术，术后恢复可。",
    "{DATE}在{HOSPITAL}住院治疗，好转出院。",
    "由{HOSPITAL}转入我院，收入{DEPARTMENT}。",
    "外院（{HOSPITAL}）胸片示双肺纹理增多。",
    "{DEPARTMENT}{BED_NUM}，住院号{RECORD_NUM:row}，拟行手术。",
    "床号：{BED_NUM} 病案号：{RECORD_NUM}",
    "门诊号{VISIT_NUM:row}，就诊卡号：{VISIT_NUM}。",
    "CT号：{EXAM_NUM}，示右肺上叶结节，直径约8mm。",
    "病理号{EXAM_NUM}，慢性炎症，Hp（-）。",
    "医保卡号：{INSURANCE_NUM:row}，自费。",
    "退款至银行卡{BANK_CARD}。",
    "银行账号：{BANK_CARD}",
    "驾驶{PLATE}时追尾，胸部撞击方向盘。",
    "车牌号{PLATE}，交通事故伤。",
    "外籍，护照号码：{PASSPORT}。",
    "港澳通行证{PERMIT}，无医保。",
    "报告请发{EMAIL}。",
    "微信号：{WECHAT}，QQ：{QQ}，便于随访。",
    "在{EMPLOYER}上班，长期接触粉尘20年。",
    "工作单位：{EMPLOYER}",
    "就职于{EMPLOYER}，久坐。",
    "就读于{SCHOOL}，近视3年。",
    "{SCHOOL}学生，军训时晕倒，P 110次/分。",
    "{DATE}起病，体温最高39.2℃，{DATE}复查血常规WBC 12.3×10^9/L。",
    "末次月经{DATE}，停经45天。",
    "自{DATE}始反复上腹痛，{DATE}曾查胃镜。",
    "患者{AGE90}，长期卧床，压疮2处。",
    "其父{AGE90}去世，死因不详。",
    "电话{PHONE}2.不适随诊。3.低盐饮食",
    "身份证号{ID_CARD}1.高血压2级",
    "联系方式：{PHONE}（{RELATIVE_NAME}）",
]

# A second hand: other wordings, other names.
MORE_SURNAMES = "赵钱孙李周吴郑王冯陈蒋沈韩杨朱秦许何吕施张孔曹严华金魏陶姜戚谢邹喻苏潘葛范彭郎鲁韦马苗方俞任袁柳鲍史唐费岑薛雷贺倪汤殷罗毕郝安常乐于傅齐康伍余顾孟黄和穆萧尹姚邵汪毛狄米臧计戴宋茅庞熊纪舒屈项祝董梁杜阮蓝闵席季麻强贾路江童颜郭梅林钟徐邱骆高夏蔡田樊胡霍虞万柯管卢莫房解应丁邓洪包左石崔龚程邢裴陆荣荀惠曲封储焦侯宓全班仲伊宫宁仇甘武符刘景詹龙叶司黎薄白蒲鄂赖卓屠蒙池乔闻党翟谭劳申冉桑桂牛燕尚温庄晏柴瞿阎连艾容向古易廖耿匡文寇广东欧沃利师聂敖冷辛简饶曾沙丰关查游"
MORE_GIVEN = [
    "振华", "明辉", "丽娟", "美玲", "天佑", "立新", "保国", "慧敏", "晓东", "小龙", "佳怡", "诗雨", "宇轩", "奕辰", "秋菊", "冬梅", "桂荣", "素芬", "兰香", "福生", "根宝", "铁柱", "二妞", "三喜", "百川", "千寻", "牧之", "知夏", "景行", "令仪", "颖", "昊", "蕾", "超", "彬", "莉", "琳", "雪", "晶", "森", "焱", "晗", "峥", "嵘", "钧", "珏"
]  # fmt: skip
MORE_TEMPLATES = [
    "{PATIENT_NAME:row} 男 47岁 已婚 汉族，右上腹痛半天。",
    "今日患者{PATIENT_NAME}再次来院复诊，诉咳嗽减轻。",
    "就诊者姓名：{PATIENT_NAME}；民族：汉；职业：教师",
    "{PATIENT_NAME:row}，女，退休工人，因头昏伴耳鸣1周就诊。",
    "患者姓名{PATIENT_NAME}，{AGE90}，跌倒后髋部疼痛2小时。",
    "陪同人员：{RELATIVE_NAME}（女婿）{PHONE}",
    "患者之妻{RELATIVE_NAME}诉其夜间打鼾明显。",
    "家长{RELATIVE_NAME}要求输液，已解释。",
    "与患者大女儿{RELATIVE_NAME}电话沟通，知情同意。",
    "紧急联系人{RELATIVE_NAME}{PHONE}",
    "授权委托人：{RELATIVE_NAME}，身份证号码：{ID_CARD}",
    "经治医师 {STAFF_NAME}  上级医师 {STAFF_NAME}",
    "{STAFF_NAME}副主任医师查看患者后指示：加用利尿剂。",
    "手术者{STAFF_NAME}，麻醉医师{STAFF_NAME}，手术顺利。",
    "已电话请示{STAFF_NAME}教授，同意目前方案。",
    "B超医生：{STAFF_NAME} 审核：{STAFF_NAME}",
    "会诊意见（{STAFF_NAME}）：排除急腹症。",
    "患者老家{ADDRESS}，近1月来本地打工。",
    "现住址{ADDRESS}，邻居有类似症状者。",
    "事故发生于{ADDRESS}附近，伤后意识清楚。",
    "患者{DATE}曾到{HOSPITAL}看过，查胃镜提示浅表性胃炎。",
    "近两年一直在{HOSPITAL}透析，每周3次。",
    "{HOSPITAL}心脏彩超：EF 55%，左房增大。",
    "转院记录：{HOSPITAL}→我院，途中生命体征平稳。",
    "拟收住{DEPARTMENT}，暂无床位。",
    "目前住{BED_NUM}，今晨空腹血糖6.8mmol/L。",
    "检查编号 {EXAM_NUM} 报告日期 {DATE}",
    "影像号：{EXAM_NUM}；超声号：{EXAM_NUM}。",
    "MRN {RECORD_NUM}，随访第3次。",
    "本次流水号{VISIT_NUM}，处方号{VISIT_NUM}。",
    "社保卡号{INSURANCE_NUM}，异地报销。",
    "新农合证号：{INSURANCE_NUM}",
    "车主，{PLATE}，行驶中突发胸痛。",
    "卡号：{BANK_CARD}（退押金用）",
    "passport {PASSPORT}，从境外返回7天。",
    "来往内地通行证号：{PERMIT}",
    "请将结果发到邮箱 {EMAIL} 或加QQ {QQ}",
    "随访微信{WECHAT}",
    "系{EMPLOYER}工人，班后出现手抖。",
    "在{EMPLOYER}从事焊接工作12年。",
    "今年从{SCHOOL}毕业，体检发现血压150/95mmHg。",
    "{SCHOOL}教师，声嘶3月。",
    "发病日期：{DATE}，就诊日期：{DATE}",
    "既往：{DATE}行阑尾切除术；青霉素过敏。",
    "{DATE}～{DATE}住院期间曾发热。",
    "祖母{AGE90}健在，父亲患高血压。",
    "手机：{PHONE}/{PHONE}",
    "打电话{PHONE}无人接听，改日随访。",
]

# A third hand: names in the middle of sentences, with little or nothing beside them.
THIRD_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐沿梅莫庄辛管祝左涂谷祁时舒耿牟卜路詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵欧解强柴华车冉房边"
THIRD_GIVEN = [
    "宝玉", "泽楷", "雅琴", "月娥", "少华", "世杰", "凯旋", "彩霞", "爱萍", "银花", "腊梅", "满堂", "有才", "得水", "水生", "火旺", "土根", "望舒", "清扬", "沐阳", "一诺", "语嫣", "皓轩", "锦程", "钰涵", "芷若", "兆麟", "焕章", "守业", "传芳", "贵", "芬", "俊", "鑫", "淼", "垚", "奎", "珂", "雯", "倩", "忠", "宪", "勤", "敬", "恺", "悦"
]  # fmt: skip
THIRD_TEMPLATES = [
    "接诊时{PATIENT_NAME:row}神志清楚，对答切题。",
    "{PATIENT_NAME:row}(男,52岁)因酒后呕血1次急诊入院。",
    "患者，{PATIENT_NAME}，男性，71岁，反复气喘20年。",
    "病员{PATIENT_NAME}昨晚突发左胸刺痛，持续数秒。",
    "姓 名 {PATIENT_NAME}    科 别 内科    日 期 {DATE}",
    "爱人{RELATIVE_NAME}在旁补充：患者夜间多梦。",
    "孙子{RELATIVE_NAME}搀扶入诊室，步态不稳。",
    "据其姐{RELATIVE_NAME}回忆，患者幼时曾有惊厥。",
    "老伴{RELATIVE_NAME}，{PHONE}，需随访。",
    "知情同意书由{RELATIVE_NAME}（患者之子）签署。",
    "{STAFF_NAME}护士长巡视病房，输液通畅。",
    "病例由{STAFF_NAME}医生书写，{STAFF_NAME}主治医师审核。",
    "检查医师{STAFF_NAME}  报告医师{STAFF_NAME}",
    "电话联系{STAFF_NAME}大夫，建议停用二甲双胍。",
    "转诊医生：{STAFF_NAME}，联系方式：{PHONE}",
    "常住{ADDRESS}，饮用井水。",
    "在{ADDRESS}经营小卖部，否认毒物接触。",
    "遂去{HOSPITAL}拍片，未见骨折。",
    "{HOSPITAL}出院小结（{DATE}）：冠脉支架置入术后。",
    "复印了{HOSPITAL}的病历，血红蛋白75g/L。",
    "患者住{DEPARTMENT}时曾发生低血糖。",
    "{BED_NUM}患者夜间烦躁，予右美托咪定。",
    "住院病历号：{RECORD_NUM}；登记号：{RECORD_NUM}",
    "就诊序号{VISIT_NUM}，急诊号{VISIT_NUM}",
    "标本条码{EXAM_NUM}，溶血，建议重采。",
    "参保号{INSURANCE_NUM}，门慢备案。",
    "信用卡号：{BANK_CARD}",
    "肇事车辆{PLATE}，对方全责。",
    "ID {ID_CARD}，港澳居民",
    "证件：护照 {PASSPORT}；通行证 {PERMIT}",
    "mail:{EMAIL}；wechat:{WECHAT}；qq:{QQ}",
    "{EMPLOYER}集体体检发现转氨酶升高。",
    "{SCHOOL}食堂就餐后多人腹泻。",
    "患者自{DATE}以来体重下降8kg，{DATE}外院B超示胆囊结石。",
    "定于{DATE}行白内障超声乳化术。",
    "外婆{AGE90}，有老年痴呆。",
    "患者{AGE90}高龄，家属要求保守治疗。",
    "请回电{PHONE}或{PHONE}，找{RELATIVE_NAME}",
]

_ROW_FIELDS = {
    "PATIENT_NAME": "patient_name", "STAFF_NAME": "doctor", "RECORD_NUM": "record_number", "VISIT_NUM": "visit_number",
    "INSURANCE_NUM": "insurance_number",
}  # fmt: skip
_SLOT = re.compile(r"\{([A-Z0-9_]+)(:row)?\}")


HANDS = {
    1: (TEMPLATES, SURNAMES, GIVEN),
    2: (MORE_TEMPLATES, MORE_SURNAMES, MORE_GIVEN),
    3: (THIRD_TEMPLATES, THIRD_SURNAMES, THIRD_GIVEN),
}


def planted_notes(number: int, seed: int, *, hand: int = 1) -> list[Planted]:
    """`number` notes from the templates and names of one hand; the same for the same seed."""
    templates, surnames, given = HANDS[hand]
    rng = random.Random(seed)
    values = Values(rng, surnames, given)
    notes = []
    for index in range(number):
        template = templates[index % len(templates)]
        text, truth, known, position = "", [], {}, 0
        for slot in _SLOT.finditer(template):
            kind = slot.group(1)
            value = values.draw(kind)
            text += template[position : slot.start()]
            truth.append(
                (len(text), len(text) + len(value), "STAFF_NAME" if kind == "SURNAME_ONLY" else kind)
            )
            text += value
            position = slot.end()
            if slot.group(2):
                known[_ROW_FIELDS[kind]] = value
        notes.append(Planted(text + template[position:], tuple(truth), known))
    return notes
