"""The saved model's card, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emr_fl_server.report.figures import Figure, Figures
from emr_fl_server.report.reading import Results
from emr_fl_server.report.sections import METHODS, OURS, SCORED, place_of
from emr_fl_server.report.svg import Words

SET_NAMES = {
    "standard": Words("standard", "标准"),
    "noisy": Words("noisy", "含噪"),
    "cross_site": Words("cross-site", "跨机构"),
    "adversarial": Words("adversarial (attack on this model)", "对抗（针对本模型）"),
    "adversarial_transfer": Words("adversarial (transferred)", "对抗（迁移）"),
    "validation": Words("validation", "验证"),
}


def model_card(results: Mapping[str, Any]) -> str:
    """`MODEL_CARD.md` for the model of the best round: Chinese, then English.

    What is missing in `results` (baselines, say) is left out.
    """
    known = Results(results)
    figures = Figures(known)
    return "\n".join([*_card(known, figures, "zh"), "", "---", "", *_card(known, figures, "en"), ""])


def _card(results: Results, figures: Figures, language: str) -> list[str]:
    def t(en: str, zh: str) -> str:
        return zh if language == "zh" else en

    name = _plain(results.text("name") or "emr-fl")
    lines = ["# " + t(f"Model card: {name}", f"模型卡：{name}"), ""]
    if results.get("sample_data") is True:
        lines += [
            "> **"
            + t(
                "Sample data made by this project, not clinical performance.",
                "示例数据由本项目生成，不代表临床性能。",
            )
            + "**",
            "",
        ]
    for title, body in (
        (t("What it is", "模型说明"), _what(results, figures, t)),
        (t("Intended use, and not", "适用与不适用"), _use(t)),
        (t("Data", "数据"), _data(results, figures, t)),
        (t("Scores", "评测分数"), _scores(results, figures, language)),
        (t("Beside it", "对照"), _baselines(results, figures, language)),
        (t("Calibration and decision", "校准与判定"), _calibration(results, figures, t)),
        (t("Limits", "局限"), _limits(results, t)),
        (t("Privacy", "隐私"), _privacy(results, figures, t)),
        (t("Training", "训练"), _training(results, figures, t)),
    ):
        if body:
            lines += [f"## {title}", "", *body, ""]
    return lines[:-1]


def _what(results: Results, figures: Figures, t: Any) -> list[str]:
    labels, parameters = figures.of("count", "labels").text, figures.of("count", "parameters").text
    sites = figures.length("sites").text
    model, taxonomy = _plain(results.text("model") or "–"), _plain(results.text("taxonomy") or "–")
    return [
        t(
            f"A classifier that reads one short Chinese outpatient note and gives a probability for each of {labels} "
            f"diagnosis labels (`{taxonomy}`). Encoder `{model}`, {parameters} parameters, trained federated over "
            f"{sites} sites with emr-fl; records stayed at the sites.",
            f"读入一段简短的中文门诊记录，对 {labels} 个诊断标签（`{taxonomy}`）各给出一个概率。编码器 `{model}`，"
            f"{parameters} 个参数，由 emr-fl 在 {sites} 家机构间联邦训练；病历未离开机构。",
        ),
        *(
            [
                "",
                t(
                    "It was trained on text that emr-fl's input standardiser had rewritten (T38.5 → 体温38.5). `emr-fl predict` does that; "
                    "whoever loads the folder otherwise calls `emr_fl_shared.preparation.model_text` first.",
                    "训练文本经过 emr-fl 输入标准化（T38.5 → 体温38.5）。`emr-fl predict` 会自动处理；"
                    "以其他方式加载时，请先调用 `emr_fl_shared.preparation.model_text`。",
                ),
            ]
            if results.get("standardise") is True
            else []
        ),
    ]


def _use(t: Any) -> list[str]:
    return [
        t(
            "- For: research on federated text classification; pre-sorting and quality checks of first diagnoses that a "
            "person confirms.",
            "- 适用：联邦文本分类研究；由人确认的初步诊断预分类与质控。",
        ),
        t(
            "- Not for: diagnosis or treatment without a clinician, triage of emergencies, billing decisions, patients, "
            "departments or languages that it was not evaluated on.",
            "- 不适用：无医生参与的诊断或治疗、急诊分诊、医保结算决定，以及未经评测的人群、科室或语言。",
        ),
    ]


def _data(results: Results, figures: Figures, t: Any) -> list[str]:
    names = [
        name for name in results.mapping("sites") if results.number("sites", name, "n_train") is not None
    ]
    lines = []
    if names:
        total = figures.total("count", [("sites", name, "n_train") for name in names]).text
        lines.append(
            t(
                f"- Training: {total} records at {len(names)} sites.",
                f"- 训练：{len(names)} 家机构共 {total} 条记录。",
            )
        )
    n = figures.of("count", "validation", "n")
    if n:
        lines.append(
            t(
                f"- Validation: {n.text} records, used for the best round, threshold and temperature and never scored as a test.",
                f"- 验证：{n.text} 条记录，用于选取最佳轮次、阈值与温度，不计入测试。",
            )
        )
    lines.append(
        t(
            "- Direct identifiers were removed at the sites before training.",
            "- 直接标识在训练前已于机构内去除。",
        )
    )
    return lines


def _scores(results: Results, figures: Figures, language: str) -> list[str]:
    rows = []
    chapters = results.number("sets", "standard", "chapter_macro_f1") is not None
    for key in SCORED:
        place = place_of(key)
        if results.number(*place, "macro_f1") is not None:
            rows.append(
                [
                    getattr(SET_NAMES[key], language),
                    *(
                        figures.of(form, *place, measure).text
                        for form, measure in (
                            ("count", "n"),
                            ("percent", "macro_f1"),
                            ("percent", "micro_f1"),
                            ("decimal", "pr_auc_macro"),
                            ("decimal", "ece"),
                            ("percent", "drop"),
                            *((("percent", "chapter_macro_f1"),) if chapters else ()),
                        )
                    ),
                ]
            )
    if not rows:
        return []
    head = {
        "en": ["set", "n", "macro-F1 %", "micro-F1 %", "macro PR-AUC", "ECE", "drop %"],
        "zh": ["数据集", "n", "macro-F1 %", "micro-F1 %", "宏 PR-AUC", "ECE", "下降 %"],
    }[language]
    if chapters:
        head.append({"en": "chapters, macro-F1 %", "zh": "章 macro-F1 %"}[language])
    return [
        *_table(head, rows),
        "",
        {
            "en": "macro-F1 averages over the labels that occur in the set. One run, one seed.",
            "zh": "macro-F1 对该集中出现的标签取平均。单个随机种子的一次运行。",
        }[language],
    ]


def _baselines(results: Results, figures: Figures, language: str) -> list[str]:
    def row(name: Words, *place: str) -> list[str]:
        found: list[Figure] = [
            figures.of("percent", *place, key, "macro_f1") for key in ("standard", "noisy")
        ]
        return [getattr(name, language), *(figure.text for figure in found)]

    known = [(key, name) for key, name, _ in METHODS if results.mapping("baselines", key)]
    if not known:
        return []
    head = {"en": ["macro-F1 %", "standard", "noisy"], "zh": ["macro-F1 %", "标准", "含噪"]}[language]
    return _table(head, [row(OURS, "sets"), *(row(name, "baselines", key) for key, name in known)])


def _calibration(results: Results, figures: Figures, t: Any) -> list[str]:
    ece, labelwise = (
        figures.of("decimal", "sets", "standard", "ece"),
        figures.of("decimal", "sets", "standard", "ece_labelwise"),
    )
    lines = []
    if ece:
        lines.append(
            t(
                f"- ECE on the standard set: {ece.text} for the most probable label",
                f"- 标准集 ECE：最可能标签 {ece.text}",
            )
            + (
                t(f", {labelwise.text} label by label.", f"，逐标签 {labelwise.text}。")
                if labelwise
                else t(".", "。")
            )
        )
    kind = results.text("decision", "kind")
    temperature = figures.of("decimal", "decision", "temperature")
    threshold = figures.of("decimal", "decision", "threshold")
    if kind == "threshold" and threshold and results.get("decision", "thresholds"):
        lines.append(
            t(
                f"- Every label has its own threshold, shrunk towards {threshold.text} the rarer it is, after temperature "
                f"{temperature.text} (`thresholds.json`). None of this was fitted on a test set.",
                f"- 每个标签有各自的阈值，标签越罕见越向 {threshold.text} 收缩（温度 {temperature.text}，见 `thresholds.json`）；"
                "均未在测试集上拟合。",
            )
        )
    elif kind == "threshold" and threshold:
        lines.append(
            t(
                f"- A label is given where its probability reaches {threshold.text}, after temperature {temperature.text}. "
                "Neither was fitted on a test set.",
                f"- 概率达到 {threshold.text} 即给出该标签（温度 {temperature.text}）；二者均未在测试集上拟合。",
            )
        )
    elif kind == "argmax":
        lines.append(
            t(
                f"- The most probable label is given, after temperature {temperature.text}.",
                f"- 给出概率最高的标签（温度 {temperature.text}）。",
            )
        )
    return lines


def _limits(results: Results, t: Any) -> list[str]:
    lines = [
        t(
            "- Rare labels are less reliable than frequent ones; see F1 by label in `report.html`.",
            "- 罕见标签不如常见标签可靠；各标签 F1 见 `report.html`。",
        ),
        t(
            "- Scores can be lower on hospitals that took no part in training and on text that is attacked on purpose.",
            "- 对未参与训练的医院以及遭蓄意攻击的文本，分数可能更低。",
        ),
        t(
            "- Negation, uncertainty and whose illness it is can be misread; nothing is explained by a probability alone.",
            "- 可能误读否定、不确定表述与患病主体；概率本身不构成解释。",
        ),
        t(
            "- Fairness by sex, age and department was not measured here.",
            "- 未评测不同性别、年龄与科室间的公平性。",
        ),
    ]
    if results.get("sample_data") is True:
        lines.insert(
            0,
            t(
                "- Trained and scored on generated notes: the figures say nothing about real patients.",
                "- 训练与评测均使用生成的记录：这些数字不反映真实患者。",
            ),
        )
    return lines


def _privacy(results: Results, figures: Figures, t: Any) -> list[str]:
    epsilon, delta = figures.of("general", "privacy", "epsilon"), figures.of("general", "privacy", "delta")
    lines = []
    if (mode := results.get("privacy", "secure_aggregation")) in ("hostile", "curious"):
        said = t("the server saw sums of updates only, mode", "服务器只看到更新的总和，模式")
        lines.append(t("- Secure aggregation: ", "- 安全聚合：") + f"{said} {mode}")
    if epsilon:
        return [
            *lines,
            t("- Differential privacy: ", "- 差分隐私：") + f"ε = {epsilon.text}, δ = {delta.text}",
        ]
    return [
        *lines,
        t(
            "- No differential privacy. A model can reveal whether a record took part in its training; give it only to those "
            "who may know that.",
            "- 未使用差分隐私。模型可能泄露某条记录是否参与训练；仅可提供给有权知晓者。",
        ),
    ]


def _training(results: Results, figures: Figures, t: Any) -> list[str]:
    lines = []
    for label, figure in (
        (t("rounds", "轮次"), figures.of("count", "rounds")),
        (t("best round (this model)", "最佳轮次（即本模型）"), figures.of("count", "best_round")),
        (t("seed", "随机种子"), figures.of("general", "seed")),
    ):
        if figure:
            lines.append(f"- {label}: {figure.text}")
    created = results.text("created")
    if created:
        lines.append(f"- {t('date', '日期')}: {_plain(created)}")
    versions = [f"{_plain(name)} {_plain(str(value))}" for name, value in results.mapping("versions").items()]
    if versions:
        lines.append(f"- {t('versions', '版本')}: {', '.join(versions)}")
    lines.append(
        t(
            "- All settings: `settings.toml` in the run folder; all scores: `results.json`.",
            "- 全部设置见运行目录的 `settings.toml`，全部分数见 `results.json`。",
        )
    )
    return lines


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return [line(head), line(["---", *["---:"] * (len(head) - 1)]), *(line(row) for row in rows)]


def _plain(text: str) -> str:
    """A name that can't break out of Markdown: one line, and no signs that mean something there."""
    return "".join("" if char in "`|<>[]*#\\" else " " if char.isspace() else char for char in text)[:200]
