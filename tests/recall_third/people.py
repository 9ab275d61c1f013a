"""Invented names of patients, relatives and staff, and the ways in which a note writes them."""

from __future__ import annotations

from random import Random

# Frequent surnames in the order of the national counts; the earlier, the likelier.
_FREQUENT = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭"
    "陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤康易乔赖文"
)
_SELDOM = (
    "逯仉蹇展卜储戚宓邸郜蔚麻惠窦晁茹荆暴巩浦揭盖南练楼干虞桂但漆薄喻宛原别权党由鹿才海牟候代兰幸母青邬阎綦璩昝鞠"
    "迟随厉宿荣酆訾郗闵屈阮艾简费沙穆凌鲍甄涂佟车耿詹聂焦柯房滕庞祝裘支门丛历时年肇税苑续降扈呙撖"
)
_COMPOUND = (
    *("欧阳", "欧阳", "欧阳", "司徒", "上官", "慕容", "长孙", "宇文", "公孙", "呼延", "南宫"),
    *("钟离", "澹台", "濮阳", "淳于", "申屠", "赫连", "东郭", "第五", "亓官", "闻人", "轩辕"),
)
# Given names by the years of birth: born before 1965, 1965 to 1994, after.
_OLDER = (
    "万有长根土水木火大友开来世昌守仁凤仪月娥桂香秀珍金兰玉莲素芬腊梅冬生保田喜顺满堂国栋治邦义和传忠殿臣锡九庆余应求巧云彩娣招弟爱菊"
    "淑贞菊仙银娣荷花翠英荣贵炳坤茂林阿毛解放援越新民"
)
_MIDDLE = (
    "伟峰鹏磊斌凯旭辉俊毅卫东少华向前建军红霞艳芳晓燕丽娜静雯敏洁莉萍春梅海英雪松亚楠小龙利强志刚锦程颖倩薇娟娟振兴维佳继红永刚"
    "胜男琳瑛学勤立群克勤泽民光耀宏图"
)
_YOUNGER = (
    "奕辰屿桐汐玥芷若栩妍沐阳昊然璟雯熙瑶一鸣知夏语彤星野禹泽铭轩婧琪依诺宥宁苡晨亦可翊航煜城书瑶佑安楚涵洛伊钰彤"
    "乐瑶予安霖之砚秋令仪墨染清欢"
)
# Names that are also words; a clerk in a clinic meets some of them every week.
_WORDS = (
    *("高兴", "白雪", "高峰", "温馨", "常青", "江山", "严肃", "时光", "钟声", "夏天", "万里", "林海"),
    *("田野", "杨柳", "程序", "汪洋", "齐全", "路遥", "成功", "雷雨", "丁香", "明亮", "易明", "全胜"),
    *("宁静", "连胜", "乐天", "高原", "黄金", "方圆", "马骏", "关山", "安康", "金星", "石磊", "曲歌"),
    *("白云", "苏醒", "管乐", "于飞", "古月", "向荣", "车轮", "甘露", "凌晨", "戴冠", "余力", "商羽"),
    *("段誉", "任重", "沈默", "单一", "康泰", "黄莲", "和平", "卫国", "洪水", "温泉", "祝福", "贺喜"),
)
_UYGHUR = (
    *(
        "阿依努尔",
        "买买提",
        "热孜万古丽",
        "吐逊江",
        "帕提古丽",
        "阿卜杜热合曼",
        "凯赛尔",
        "图尔荪",
        "米吉提",
        "塔伊尔",
    ),
    *("茹仙古丽", "艾尔肯", "穆萨", "伊力哈木", "再娜甫", "艾则孜", "肉孜", "萨拉买提", "努尔兰", "哈力克"),
)
_TIBETAN_FIRST = (
    "扎西",
    "旺堆",
    "尼玛",
    "白玛",
    "拉姆",
    "贡觉",
    "洛桑",
    "边巴",
    "达瓦",
    "德吉",
    "丹增",
    "米玛",
)
_TIBETAN_SECOND = (
    "平措",
    "曲珍",
    "罗布",
    "央宗",
    "多吉",
    "群培",
    "坚赞",
    "旺姆",
    "江村",
    "桑珠",
    "加措",
    "卓嘎",
)
_MONGOL = (
    *(
        "乌云塔娜",
        "巴特尔",
        "敖登格日勒",
        "那顺巴雅尔",
        "萨仁高娃",
        "朝鲁",
        "宝力德",
        "斯琴",
        "其木格",
        "呼格吉勒",
    ),
    *("额尔敦", "图雅", "布和", "孟和吉雅", "特木尔"),
)
_YI = ("吉克阿牛", "沙马木呷", "阿苦伍各", "曲比石布", "俄木尔哈", "吉伍友古", "马海日布", "阿的子阿木")
_FOREIGN_GIVEN = (
    *(
        "安德烈",
        "玛格丽特",
        "叶卡捷琳娜",
        "迈克",
        "伊莎贝尔",
        "费尔南多",
        "哈桑",
        "拉杰什",
        "萨拉",
        "本杰明",
        "纳塔利娅",
    ),
    *("奥马尔", "克里斯托弗", "阮氏芳", "山口由美", "朴智勋"),
)
_FOREIGN_FAMILY = (
    *(
        "伊万诺娃",
        "汤普森",
        "罗德里格斯",
        "穆罕默德",
        "夏尔马",
        "莫罗佐夫",
        "费舍尔",
        "贝克",
        "阿里",
        "桑切斯",
        "奥尔森",
    ),
)
_LATIN = (
    *(
        "Olga Morozova",
        "Daniel Okafor",
        "Priya Nair",
        "CHEN Yufan",
        "Zhou Meiling",
        "Tran Thi Lan",
        "Ahmed Saleh",
    ),
    *(
        "Lucas Meyer",
        "GUO JIAHAO",
        "Xu Wenqing",
        "Emily Carter",
        "Kenji Watanabe",
        "Deng Xiaoli",
        "Ivan Petrenko",
    ),
)
_LATER = ("宝", "仔", "娃", "妹", "丫", "蛋")


class People:
    """Names drawn from one generator."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def surname(self) -> str:
        """A Chinese surname, mostly a frequent one."""
        draw = self._random.random()
        if draw < 0.025:
            return self._random.choice(_COMPOUND)
        if draw < 0.12:
            return self._random.choice(_SELDOM)
        # the smaller of two draws: the first surnames of the list are the commonest
        return _FREQUENT[min(self._random.randrange(len(_FREQUENT)), self._random.randrange(len(_FREQUENT)))]

    def name(self) -> str:
        """Anybody's name, as a register has it."""
        draw = self._random.random()
        if draw < 0.045:
            return self._of_other_peoples()
        if draw < 0.055:
            return self._random.choice(_LATIN)
        if draw < 0.085:
            return self._random.choice(_WORDS)
        if draw < 0.095:
            # two surnames, the mother's and the father's
            return self.surname() + self._random.choice(_FREQUENT) + self._given(1)
        return self.surname() + self._given(1 if self._random.random() < 0.24 else 2)

    def staff(self) -> str:
        """A member of staff's name: no Latin letters and no words."""
        if self._random.random() < 0.03:
            return self._of_other_peoples()
        return self.surname() + self._given(1 if self._random.random() < 0.28 else 2)

    def pet(self) -> str:
        """What a child is called at home."""
        one = self._random.choice("朵糖米果豆元丁核桃萌晴")
        return self._random.choice((one + one, "小" + one, one + self._random.choice(_LATER)))

    def written(self, name: str) -> str:
        """`name` as a form or a scan writes it: now and then with blanks or another middle dot."""
        draw = self._random.random()
        if "·" in name:
            return name.replace("·", "•") if draw < 0.1 else name.replace("·", ".") if draw < 0.2 else name
        if draw < 0.025 and len(name) == 2:
            return name[0] + self._random.choice((" ", "　", "  ")) + name[1]
        if draw < 0.012 and name.isalpha() and not name.isascii():
            return " ".join(name)
        return name

    def _given(self, length: int) -> str:
        letters = self._random.choice((_OLDER, _MIDDLE, _MIDDLE, _YOUNGER))
        if length == 1:
            return self._random.choice(letters)
        # half the pairs are neighbours of the list and so sound like a name; the others are any two letters
        if self._random.random() < 0.6:
            at = self._random.randrange(len(letters) - 1)
            return letters[at : at + 2]
        return "".join(self._random.choices(letters, k=2))

    def _of_other_peoples(self) -> str:
        pick = self._random.choice
        return pick(
            (
                pick(_UYGHUR) + "·" + pick(_UYGHUR),
                pick(_UYGHUR) + "·" + pick(_UYGHUR),
                pick(_TIBETAN_FIRST) + pick(_TIBETAN_SECOND),
                pick(_TIBETAN_FIRST) + pick(_TIBETAN_SECOND),
                pick(_MONGOL),
                pick(_YI),
                pick(_FOREIGN_GIVEN) + "·" + pick(_FOREIGN_FAMILY),
            )
        )
