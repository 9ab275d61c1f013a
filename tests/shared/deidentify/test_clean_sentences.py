"""No false alarm: sentences of clinical Chinese that hold no identifier stay exactly as they are."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from emr_fl_shared.deidentify import Deidentifier

CLEAN = """
患者3天前受凉后出现发热，体温最高38.5℃，伴咳嗽、咳黄痰，无胸闷气促。
患者于2周前无明显诱因出现头晕，呈阵发性，每次持续约10分钟。
患者高血压病史10年余，血压最高180/110mmHg，口服硝苯地平控释片30mg 1次/日。
患者曾于外院就诊，予对症治疗后好转，今为进一步诊治来我院。
患者何时起病不详，家属代诉夜间睡眠差。
患者方才进食后呕吐胃内容物2次，约200ml。
患者时有心悸，无黑矇、晕厥，平素易怒。
患者白带增多，色黄，外阴瘙痒1周，LMP不详。
患者黄疸明显，尿色加深，皮肤瘙痒3天。
患者水肿加重，双下肢凹陷性水肿（++）。
患者安静休息后缓解，活动后气短。
患者温水坐浴后疼痛减轻。
患者常规体检发现血糖升高，空腹血糖7.8mmol/L。
患者全身乏力，纳差，体重下降5kg。
患者左侧肢体麻木，右侧正常，肌力V级。
患者万古霉素过敏，青霉素皮试阴性。
患者陈旧性心肌梗死病史3年。
患者许久未复查，自行停药2月。
患者窦性心律，心率78次/分，律齐。
患儿，3岁，发热1天，精神可，无抽搐。
其子宫增大如孕3月，质硬，活动可。
其女性亲属有乳腺癌病史。
其母患糖尿病，其父患高血压，均健在。
家属诉患者夜间打鼾，有呼吸暂停。
家属表示理解，同意进一步检查。
家属全程陪同，拒绝住院。
儿子体健，女儿患哮喘。
丈夫体健，子女均体健，否认家族遗传病史。
父亲因肺癌去世，母亲体健。
帕金森病史5年，Hoehn-Yahr分级2级，服用多巴丝肼。
Murphy征阳性，麦氏点压痛（-），反跳痛（-）。
王不留行籽耳穴压豆，何首乌30g，白芍15g，白术10g，黄芪30g。
予云南白药胶囊、安宫牛黄丸、连花清瘟胶囊口服。
予林可霉素、罗红霉素治疗3天，症状无缓解。
桥本甲状腺炎、格雷夫斯病、克罗恩病均有家族史。
巴氏征阴性，克氏征阴性，布氏征阴性。
儿童时期曾患水痘，经常感冒。
床边心电图示窦性心动过速，床旁胸片未见异常。
10-12床边心电监护均正常，长期卧床，起床后头晕。
共有3张床位，病床紧张。
主任医师查房后指示继续目前治疗，上级医师同意。
请心内科会诊，建议神经内科门诊就诊。
值班医师已处理，责任护士已宣教，遵医嘱服药。
经主治医师查看，考虑上呼吸道感染。
当地医院予输液治疗，社区医院测血压偏高，外院CT未见异常。
曾在某三甲医院住院，当地卫生院输液3天，村卫生室测血糖。
本院门诊随访，我院B超示脂肪肝，三甲医院建议手术。
小学文化，初中毕业，大学生，幼儿园小朋友多人发热。
退休工人，务农，无业，长期在工地打工，自由职业。
血压120/80mmHg，心率80次/分，呼吸20次/分，体温36.5℃，SpO2 98%。
血常规：WBC 12.5×10^9/L，N 85%，Hb 120g/L，PLT 230×10^9/L，CRP 35mg/L。
HBV-DNA 12000000IU/ml，HBsAg（+），ALT 120U/L，AST 98U/L。
BNP 12345pg/ml，D-二聚体 0.55mg/L，血小板125000，肌酐 88μmol/L。
甘油三酯2.30mmol/L，LDL-C 3.6mmol/L，HbA1c 7.2%，尿酸 520μmol/L。
胸部CT示右肺上叶磨玻璃结节，大小约8mm×6mm，建议3月后复查。
病程3年余，加重1周，近2天尤甚，每日2-3次，每次5～10分钟。
2019年诊断2型糖尿病，去年3月行胃镜检查，5年前行阑尾切除术。
09:30采血，14:00复查，夜间2点疼痛发作。
年龄45岁，身高170cm，体重65kg，BMI 22.5kg/m2，腰围90cm。
心率95次/分，血压95/60mmHg，脉搏100次/分，90岁以上者慎用。
G3P2，末次月经2周前，孕38周，胎心140次/分，停经45天。
心前区隐痛，向左肩背部放射，腰骶区叩痛，上腹区压痛。
尿路感染，尿道口红肿，消化道出血，气道高反应，胆道蛔虫。
住院治疗7天，现住院第3天，出院后规律服药，住院费用自理。
来自农村，居住环境潮湿，独居，住在女儿家，现居本地。
吸烟20年，每日20支，饮酒10年，每日白酒2两，已戒3年。
舌质红，苔薄黄，脉弦数；舌淡，苔白腻，脉沉细。
予阿莫西林0.5g tid po×3天，布洛芬混悬液10ml，多饮水，随诊。
双肺呼吸音粗，可闻及湿性罗音，心律齐，未闻及杂音，腹软。
神志清，精神可，查体合作，双侧瞳孔等大等圆，直径3mm，对光反射灵敏。
视力：右眼0.8，左眼1.0，眼压15mmHg，角膜透明，前房清。
腰4/5椎间盘突出，直腿抬高试验阳性（30°），L5-S1间隙变窄。
国庆节后出现症状，春节期间饮酒后腹痛，冬季加重。
高度怀疑肺栓塞，全面复查，平卧位，双侧对称，关节无红肿。
马上好转，时间较长，方向感差，平安度过围手术期，成功拔管。
微信扫码随访，电话随访，复诊预约，网上挂号。
医保报销，自费检查，已交押金，退费。
病人卧床，病情平稳，主任查房，护士长已知晓，大夫建议手术。
尼古丁依赖，东莨菪碱皮试，西咪替丁口服，北沙参10g，中山装。
阴道流血3天，宫颈糜烂，子宫肌瘤，附件区未及包块。
伴于活动后加重，于休息后缓解，于进食后明显，向后背放射。
单纯疱疹，成人Still病，文拉法辛75mg，华法林3mg，INR 2.1。
钟面试验异常，江米过敏，段内狭窄，雷诺现象，史密斯骨折。
三小时前摔伤，一小时后来诊，右踝肿胀，不能行走。
""".strip().splitlines()


def test_there_are_enough() -> None:
    assert len(CLEAN) >= 80 and len(set(CLEAN)) == len(CLEAN)


@pytest.mark.parametrize("sentence", CLEAN, ids=range(len(CLEAN)))
def test_clean_sentences_stay(sentence: str) -> None:
    text, spans = Deidentifier(key=b"k").text(sentence)
    found = [(span.kind, sentence[span.start : span.end]) for span in spans]
    assert (text, found) == (sentence, [])


def _lexicon_terms() -> list[str]:
    """Diseases, aliases, treatments, courses and findings of the lexicon."""
    folder = files("emr_fl_shared") / "resources" / "lexicon"
    terms: set[str] = set()
    for resource in (folder / "diseases").iterdir():
        for entry in yaml.load(
            resource.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        ):
            terms.update(map(str, (entry["zh"], *entry["aliases"], *entry["treatments"], *entry["course"])))
    for resource in (folder / "findings").iterdir():
        for line in resource.read_text("utf-8").splitlines()[1:]:
            cells = line.split("\t")
            terms.update(part for cell in (cells[0], *cells[3:]) for part in cell.split("|") if part)
    return sorted(terms)


def test_the_words_of_the_lexicon_stay() -> None:
    """Each term where a name could stand: behind a role, at the beginning, in brackets, before 男."""
    cleaner = Deidentifier(key=b"k")
    alarms = []
    tried = 0
    for term in _lexicon_terms():
        for template in ("患者{}3天，", "{}，加重1周", "其母{}病史", "（{}）", "{}，男"):
            tried += 1
            if cleaner.text(template.format(term))[1]:
                alarms.append(template.format(term))
    assert tried > 20_000
    assert len(alarms) <= tried / 5_000, alarms
