"""Invented addresses, employers, schools and hospitals, put together from parts; provinces, cities and counties are real."""

from __future__ import annotations

from random import Random

_REGIONS = (
    *(("河南省", "周口市", "鹿邑县"), ("湖南省", "邵阳市", "新宁县"), ("安徽省", "六安市", "霍邱县"), ("广西", "玉林市", "博白县")),
    *(("江西省", "赣州市", "于都县"), ("贵州省", "遵义市", "习水县"), ("云南省", "昭通市", "镇雄县"), ("山西省", "运城市", "芮城县")),
    *(("浙江省", "丽水市", "缙云县"), ("福建省", "宁德市", "霞浦县"), ("湖北省", "黄冈市", "蕲春县"), ("辽宁省", "朝阳市", "凌源市")),
    *(("黑龙江省", "绥化市", "海伦市"), ("广东省", "茂名市", "信宜市"), ("重庆市", "", "奉节县"), ("海南省", "", "琼海市")),
    *(("青海省", "海东市", "互助县"), ("山东省", "菏泽市", "曹县"), ("江苏省", "徐州市", "睢宁县"), ("上海市", "", "松江区")),
    *(("四川省", "达州市", "渠县"), ("陕西省", "汉中市", "城固县"), ("河北省", "邢台市", "宁晋县"), ("甘肃省", "定西市", "陇西县")),
)  # fmt: skip
_PASTURE = (
    "内蒙古自治区锡林郭勒盟东乌珠穆沁旗{v}苏木{w}嘎查",
    "内蒙古通辽市科左后旗{v}镇{w}嘎查",
    "新疆伊犁州尼勒克县{v}乡{w}村",
    "新疆生产建设兵团第{k}师{n}团{m}连",
    "西藏日喀则市江孜县{v}乡{w}村",
    "四川省凉山州昭觉县{v}乡{w}村{k}组",
    "云南大理州剑川县{v}镇{w}村委会",
)
_HEADS = "柳杏槐枫松桥泉井塘岭坪坝窑洼沟湾坡铺店营寨堡圩岗"
_FRONT = (
    "上",
    "下",
    "大",
    "小",
    "前",
    "后",
    "东",
    "西",
    "南",
    "北",
    "新",
    "老",
    "三",
    "五",
    "双",
    "九龙",
    "清水",
    "红石",
    "青山",
    "白马",
)
_ROADS = (
    "文昌",
    "建业",
    "迎宾",
    "环城",
    "滨江",
    "工农",
    "人和",
    "学府",
    "胜利",
    "花园",
    "朝晖",
    "兴隆",
    "望江",
    "凤鸣",
    "紫薇",
    "民生",
)
_ESTATES = (
    "锦绣",
    "金域",
    "翠湖",
    "碧桂",
    "御景",
    "丽都",
    "阳光",
    "水岸",
    "香樟",
    "书香",
    "凤凰",
    "月亮湾",
    "东方",
    "桂园",
    "铁路",
    "电力",
)
_ESTATE_ENDS = ("花园", "家园", "小区", "新村", "苑", "公馆", "名邸", "里", "佳园", "宿舍", "城")
_BRANDS = (
    "瑞禾", "鼎盛", "金穗", "亿联", "泰和", "新宇", "广源", "恒瑞达", "佳乐", "东升", "天成", "富康", "万顺", "联创", "捷迅", "盛世",
    "裕丰", "启明", "百味", "永固", "中科微", "福临",
)  # fmt: skip
_TRADES = (
    "服装厂", "家具厂", "陶瓷有限公司", "电子科技有限公司", "建材有限公司", "食品有限公司", "汽车修理厂", "物业公司", "电池有限公司",
    "鞋业有限公司", "化工股份有限公司", "装饰工程有限公司", "物流园", "大酒店", "大药房", "农机合作社", "养殖场", "铸造厂", "印刷厂",
    "塑胶制品厂", "石材厂", "快递公司", "足浴店", "集团", "家政服务有限公司",
)  # fmt: skip
_OFFICES = (
    "税务局",
    "财政局",
    "烟草公司",
    "供电公司",
    "邮政局",
    "水利局",
    "农商行",
    "法院",
    "交通局",
    "环卫所",
    "公交公司",
    "殡仪馆",
    "文化馆",
    "养老院",
)
_SCHOOL_ENDS = (
    "小学", "小学", "中心小学", "中学", "初级中学", "高级中学", "幼儿园", "幼儿园", "职业中专", "技工学校", "特殊教育学校", "九年一贯制学校",
)  # fmt: skip
_COLLEGES = ("师范学院", "医学高等专科学校", "理工学院", "农业大学", "职业技术学院", "财经学院", "工商学院")
_HOSPITAL_ENDS = (
    "人民医院", "人民医院", "中医院", "中医医院", "妇幼保健院", "中心医院", "第二人民医院", "第三人民医院", "精神卫生中心", "肿瘤医院",
    "传染病医院", "骨科医院",
)  # fmt: skip
_PRIVATE = (
    "康宁",
    "博爱",
    "华山路",
    "明德",
    "普济",
    "仁爱",
    "慈安",
    "惠民",
    "长征",
    "济民堂",
    "爱尔",
    "圣玛",
    "和美",
    "曙光",
)
_PRIVATE_ENDS = (
    "医院",
    "医院",
    "口腔门诊部",
    "诊所",
    "眼科医院",
    "康复医院",
    "妇产医院",
    "中医馆",
    "体检中心",
)
_SHORT = (
    "市一院",
    "省人民医院",
    "市三院",
    "市中心医院",
    "医科大一附院",
    "省肿瘤医院",
    "区妇幼保健院",
    "省儿童医院",
    "市胸科医院",
    "市儿童医院",
)
_WARDS = (
    "心内科", "呼吸与危重症医学科", "消化内科", "神经内科", "肾病科", "内分泌科", "血液病科", "风湿科", "感染科", "老年医学科",
    "胃肠外科", "肝胆外科", "甲乳外科", "胸外科", "泌尿外科", "脊柱外科", "关节外科", "手足外科", "烧伤科", "产科", "妇科",
    "新生儿科", "小儿外科", "眼科", "耳鼻咽喉头颈外科", "口腔科", "皮肤科", "针灸科", "推拿科", "肛肠科", "疼痛科", "精神科",
    "心理科", "放疗科", "介入科", "重症医学科", "急诊内科", "全科医学科", "职业病科", "康复科", "麻醉科", "病理科", "超声科",
)  # fmt: skip


class Places:
    """Places and institutions drawn from one generator."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def address(self) -> str:
        """An address: down to a village and its group, to a room, or only a part of it."""
        random = self._random
        n, m, k = random.randint(1, 320), random.randint(1, 30), random.choice("一二三四五六七八九")
        draw = random.random()
        if draw < 0.07:
            return random.choice(_PASTURE).format(
                v=self._village(), w=self._village(), n=random.randint(20, 180), m=m, k=k
            )
        if draw < 0.5:
            return self._region() + self._pick(
                f"{self._village()}镇{self._village()}村{m}组",
                f"{self._village()}乡{self._village()}村{k}组{m}号",
                f"{self._village()}镇{self._village()}村",
                f"{self._village()}镇{self._village()}行政村{self._village()}自然村{m}号",
                f"{self._village()}街道{self._village()}居委会",
                f"{self._village()}乡{self._village()}村委会{self._village()}屯",
                f"{self._village()}镇{random.choice(_ROADS)}街{n}号",
                f"{self._village()}镇{self._village()}村第{k}村民小组",
            )
        road = random.choice(_ROADS) + self._pick(
            "路", "路", "街", "大道", "东路", "南街", "巷", "西路", "中路"
        )
        estate = random.choice(_ESTATES) + random.choice(_ESTATE_ENDS)
        room = f"{random.randint(1, 33)}0{random.randint(1, 8)}"
        local = self._pick(
            f"{road}{n}号",
            f"{road}{n}号{estate}{m}栋{room}",
            f"{road}{n}号{estate}{m}号楼{random.randint(1, 4)}单元{room}室",
            f"{road}{n}弄{m}号{room}室",
            f"{estate}{m}幢{random.randint(1, 4)}单元{room}",
            f"{estate}{m}-{random.randint(1, 4)}-{room}",
            f"{estate}{m}号楼{room}房",
            f"{road}与{random.choice(_ROADS)}路交叉口{estate}",
            f"{road}{n}号附{m}号",
            f"{self._village()}街道{road}{n}号",
        )
        return (self._region() if random.random() < 0.55 else "") + local

    def origin(self) -> str:
        """Where somebody comes from: a province, with its city and county or not."""
        province, city, county = self._random.choice(_REGIONS)
        city = city or province
        return self._pick(province + (city if city != province else "") + county, city + county, county)

    def employer(self) -> str:
        """A firm or an office."""
        random = self._random
        town = random.choice(_REGIONS)[2]
        return self._pick(
            random.choice(_BRANDS) + random.choice(_TRADES),
            random.choice(_BRANDS) + random.choice(_TRADES),
            town + random.choice(_BRANDS) + random.choice(_TRADES),
            random.choice(_REGIONS)[0].rstrip("省市") + random.choice(_BRANDS) + random.choice(_TRADES),
            town + random.choice(_OFFICES),
            self._village()
            + random.choice(("煤矿", "砖厂", "水电站", "镇政府", "派出所", "林场", "采石场", "供销社")),
            f"中建{random.choice('一二三四五')}局{random.randint(1, 9)}公司",
            random.choice(_BRANDS) + self._pick("电子厂", "超市", "饭店", "美发店", "网约车公司"),
        )

    def school(self) -> str:
        """A school, kindergarten or college, sometimes with the class."""
        random = self._random
        return self._pick(
            self._village() + "镇" + random.choice(_SCHOOL_ENDS),
            random.choice(_ROADS) + "路" + random.choice(("小学", "中学", "幼儿园")),
            random.choice(_ESTATES)
            + random.choice(("幼儿园", "实验学校", "外国语学校", "艺术幼儿园", "小学")),
            random.choice(_REGIONS)[2]
            + self._pick("一中", "二中", "第三小学", "实验中学", "职教中心", "第一幼儿园"),
            random.choice(_REGIONS)[0].rstrip("省市") + random.choice(_COLLEGES),
            random.choice(_REGIONS)[2] + random.choice(_SCHOOL_ENDS),
        )

    def hospital(self) -> str:
        """A hospital or clinic by its name, or as it is called for short."""
        random = self._random
        province, city, county = random.choice(_REGIONS)
        return self._pick(
            county + random.choice(_HOSPITAL_ENDS),
            county + random.choice(_HOSPITAL_ENDS),
            (city or province) + random.choice(_HOSPITAL_ENDS),
            province.rstrip("省市") + "省立医院" if province.endswith("省") else county + "人民医院",
            self._village()
            + self._pick("镇卫生院", "乡卫生院", "中心卫生院", "村卫生室", "社区卫生服务中心"),
            random.choice(_PRIVATE) + random.choice(_PRIVATE_ENDS),
            (city or province).rstrip("市") + "医学院附属医院",
            random.choice(_SHORT),
            county[:-1] + self._pick("县医院", "中医院", "妇保院", "二院"),
        )

    def department(self) -> str:
        """A department of a hospital, a few with the number of the ward."""
        ward = self._random.choice(_WARDS)
        return self._pick(ward, ward, ward, ward, ward + self._random.choice(("一病区", "二病区", "三区")))

    def _region(self) -> str:
        province, city, county = self._random.choice(_REGIONS)
        return self._pick(province + city + county, province + city + county, city + county, county)

    def _village(self) -> str:
        draw = self._random.random()
        if draw < 0.3:
            return (
                self._random.choice("孙柴潘郝邢秦霍栾佟蒲")
                + self._random.choice(("家", "家", ""))
                + self._random.choice(_HEADS)
            )
        if draw < 0.75:
            return self._random.choice(_FRONT) + self._random.choice(_HEADS)
        return self._random.choice(_HEADS) + self._random.choice(
            ("林", "树", "桥", "溪", "河", "川", "山", "头", "口")
        )

    def _pick(self, *forms: str) -> str:
        return self._random.choice(forms)
