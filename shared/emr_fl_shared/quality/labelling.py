"""Labels: what was mapped and what was not, how many a record has, head and tail, and diagnoses that stand in the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emr_fl_shared.deidentify.masking import mask_leakage
from emr_fl_shared.labels import COLUMN, MappedValue, frequency_groups, map_values, parse_code
from emr_fl_shared.labels.diagnoses import EXCLUDED, HISTORY, UNCERTAIN
from emr_fl_shared.labels.icd10 import ASTERISK, MORPHOLOGY, NOT_A_CODE, TCM, TYPING_ERROR, UNMAPPED
from emr_fl_shared.labels.mapping import IGNORED
from emr_fl_shared.quality.finding import NOTHING, RECORDS, Finding, Level, Wording, counted, defect, share
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import Record, note_text

ENOUGH = 0.8
"""Share of records with a label below which the label column or the label set is probably wrong."""
_SHOWN = 12
_REMEMBERED = 65_536
_REASONS = {
    UNMAPPED: Wording("not in the label set", "不在标签体系中"),
    MORPHOLOGY: Wording("tumour morphology", "肿瘤形态学编码"),
    TCM: Wording("code of Chinese medicine", "中医编码"),
    TYPING_ERROR: Wording("typing error", "录入错误"),
    NOT_A_CODE: Wording("not a code", "不是编码"),
    UNCERTAIN: Wording("diagnosis in doubt", "未确定的诊断"),
    EXCLUDED: Wording("diagnosis excluded", "已排除的诊断"),
    HISTORY: Wording("diagnosis in the past", "既往诊断"),
}


def reason_words(reason: str) -> Wording:
    """Why a value gave no label, for people."""
    return _REASONS.get(reason, Wording(reason, reason))


@register
class Labelling:
    """Maps every record as training does."""

    name = "labels"

    def __init__(self, export: Export) -> None:
        self._export = export
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...], str], list[MappedValue]] = {}
        self._support: Counter[int] = Counter()
        self._per_record: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._categories: Counter[str] = Counter()
        self._written = 0
        self._ignored = 0
        self._leaks = 0

    def see(self, record: Record) -> None:
        key = (record.labels, record.diagnosis_codes, record.diagnosis_text)
        mapped = self._known.get(key)
        if mapped is None:
            if len(self._known) == _REMEMBERED:
                self._known.clear()
            mapped = self._known[key] = list(map_values(record, self._export.taxonomy, self._export.local))
        indices = {index for _, index, _ in mapped if index is not None}
        self._support.update(indices)
        self._per_record[len(indices)] += 1
        if not record.labels:
            self._written += any(
                index is not None and value not in record.diagnosis_codes for value, index, _ in mapped
            )
        for value, _, reason in mapped:
            self._ignored += reason == IGNORED
            if reason and reason not in (ASTERISK, IGNORED):
                self._reasons[reason] += 1
            # Only what is a category of ICD-10 is kept, never the cell.
            if reason == UNMAPPED and (category := parse_code(value).category):
                self._categories[category] += 1
        self._leaks += bool(mask_leakage(note_text(record))[1])

    def findings(self) -> Iterator[Finding]:
        yield self._mapped()
        if self._export.has("diagnosis_text"):
            yield Finding(
                "labels.written",
                Wording("records with a label from the written diagnosis", "由文字诊断得到标签的记录"),
                "ok",
                self._written,
                counted(self._written, self._export.records, RECORDS) if self._written else NOTHING,
                of=self._export.records,
            )
        if self._export.local:
            yield Finding(
                "labels.ignored",
                Wording("values that the site's own mapping ignores", "本机构映射忽略的值"),
                "ok",
                self._ignored,
                Wording(f"{self._ignored:,}", f"{self._ignored:,}"),
            )
        yield self._unmapped_values()
        if self._export.taxonomy.name != COLUMN:
            yield self._unmapped_categories()
        yield self._labels_per_record()
        yield self._histogram()
        yield self._never_seen()
        yield defect(
            "labels.leakage",
            Wording("diagnoses that stand in the text", "正文中出现的诊断"),
            self._leaks,
            self._export.records,
            RECORDS,
            Wording(
                "emr-fl masks them for training and scoring; mask them in any other use, or the model learns to copy",
                "emr-fl 在训练与评估时会遮盖；作其他用途时也应遮盖，否则模型只会照抄",
            ),
        )

    def _mapped(self) -> Finding:
        total = self._export.records
        mapped = total - self._per_record[0]
        level: Level = "ok" if mapped > ENOUGH * total else "warning" if mapped else "stop"
        taxonomy = self._export.taxonomy
        as_they_stand = taxonomy.name == COLUMN
        subject = Wording("records with a label", "有标签的记录")
        of = (
            Wording(", names as they stand in the column", "，以列中的名称为标签")
            if as_they_stand
            else Wording(f", label set {taxonomy.name}", f"，标签体系 {taxonomy.name}")
        )
        return Finding(
            "labels.mapped",
            subject,
            level,
            mapped,
            counted(mapped, total, RECORDS) + of,
            Wording(
                "the others do not train: check the column of codes and the label set",
                "其余记录不参与训练：请核对编码列与标签体系",
            )
            if level != "ok"
            else Wording(),
            of=total,
        )

    def _unmapped_values(self) -> Finding:
        parts = [(reason_words(reason), count) for reason, count in self._reasons.most_common()]
        return Finding(
            "labels.unmapped",
            Wording("values that gave no label", "未映射到标签的值"),
            "warning" if parts else "ok",
            self._reasons.total(),
            Wording(
                ", ".join(f"{name.en} {count:,}" for name, count in parts) or "none",
                "，".join(f"{name.zh} {count:,}" for name, count in parts) or "无",
            ),
            Wording(
                "see them with --unmapped FILE; correct the codes, or map them in labels.local.toml",
                "用 --unmapped 文件 查看；请更正编码，或在 labels.local.toml 中映射",
            )
            if parts
            else Wording(),
            details=dict(self._reasons),
        )

    def _unmapped_categories(self) -> Finding:
        shown = ", ".join(f"{name} {count:,}" for name, count in self._categories.most_common(_SHOWN))
        more = len(self._categories) - _SHOWN
        return Finding(
            "labels.unmapped_categories",
            Wording("ICD-10 categories without a label", "没有标签的 ICD-10 类目"),
            "ok",
            len(self._categories),
            Wording(
                (shown or "none") + (f" … (+{more})" if more > 0 else ""),
                (shown or "无") + (f" …（+{more}）" if more > 0 else ""),
            ),
            details=dict(self._categories.most_common()),
        )

    def _labels_per_record(self) -> Finding:
        labelled = self._export.records - self._per_record[0]
        mean = self._support.total() / max(1, labelled)
        single = self._per_record[1] == labelled > 0
        seen = (
            Wording("every labelled record has one", "每条有标签的记录只有一个")
            if single
            else Wording(
                f"{mean:.2f} on average, {share(self._per_record[1], labelled)} have one",
                f"平均 {mean:.2f} 个，{share(self._per_record[1], labelled)} 只有一个",
            )
        )
        return Finding(
            "labels.per_record",
            Wording("labels per record", "每条记录的标签数"),
            "ok",
            self._support.total(),
            seen,
            of=labelled,
            details={str(number): count for number, count in sorted(self._per_record.items())},
        )

    def _label_names(self) -> list[Wording]:
        """Names of a label set; labels that stand in the data are cells of records and get a number instead."""
        if self._export.taxonomy.name == COLUMN:
            return [
                Wording(f"#{number}", f"#{number}") for number in range(1, len(self._export.taxonomy) + 1)
            ]
        return [Wording(label.en, label.zh) for label in self._export.taxonomy.labels]

    def _histogram(self) -> Finding:
        names = self._label_names()
        counts = [self._support[position] for position in range(len(names))]
        groups = frequency_groups(counts)
        sums = {
            group: sum(count for count, own in zip(counts, groups, strict=True) if own == group)
            for group in ("head", "middle", "tail")
        }
        sizes = Counter(groups)
        total = sum(counts)
        shares = {group: share(sums[group], total) for group in sums}
        return Finding(
            "labels.frequency",
            Wording("head, middle and tail", "头部、中部与尾部"),
            "ok",
            total,
            Wording(
                f"{sizes['head']} most common: {shares['head']}, {sizes['middle']} in the middle: {shares['middle']}, {sizes['tail']} rarest: {shares['tail']}",
                f"最常见 {sizes['head']} 个标签占 {shares['head']}，居中 {sizes['middle']} 个占 {shares['middle']}，最少见 {sizes['tail']} 个占 {shares['tail']}",
            ),
            details={name.zh: count for name, count in zip(names, counts, strict=True)},
        )

    def _never_seen(self) -> Finding:
        missing = [name for position, name in enumerate(self._label_names()) if not self._support[position]]
        more = len(missing) - _SHOWN
        return Finding(
            "labels.never_seen",
            Wording("labels that never occur", "从未出现的标签"),
            "ok",
            len(missing),
            Wording(
                (", ".join(name.en for name in missing[:_SHOWN]) or "none")
                + (f" … (+{more})" if more > 0 else ""),
                ("、".join(name.zh for name in missing[:_SHOWN]) or "无")
                + (f" …（+{more}）" if more > 0 else ""),
            ),
            of=len(self._export.taxonomy),
        )
