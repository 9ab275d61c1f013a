"""A clean export of a small clinic, written by hand as far as it goes, for tests that put one defect into it."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

HEADER = (
    "就诊流水号",
    "患者ID",
    "就诊日期",
    "就诊科室",
    "性别",
    "年龄",
    "身份证号",
    "主诉",
    "现病史",
    "诊断编码",
    "初步诊断",
)
_ILLNESSES = (
    ("I10.x00", "高血压"),
    ("J06.900", "急性上呼吸道感染"),
    ("E11.900", "2型糖尿病"),
    ("M54.500", "腰痛"),
)
_FOUND = [
    "头晕",
    "头胀",
    "心悸",
    "乏力",
    "咽痛",
    "流涕",
    "鼻塞",
    "咳嗽",
    "口干",
    "多饮",
    "多尿",
    "消瘦",
    "腰酸",
    "腿麻",
    "晨僵",
    "反酸",
    "嗳气",
    "纳差",
    "腹胀",
    "便秘",
    "失眠",
    "多梦",
    "盗汗",
    "耳鸣",
    "眼干",
    "皮疹",
    "瘙痒",
    "胸闷",
    "气短",
    "手抖",
    "怕冷",
    "烦躁",
    "健忘",
    "咯痰",
    "喷嚏",
    "畏光",
]
_HOW = [
    "阵发性",
    "持续性",
    "夜间明显",
    "晨起明显",
    "活动后加重",
    "休息后缓解",
    "饭后明显",
    "受凉后加重",
    "逐渐加重",
    "时轻时重",
]

Row = dict[str, str]


def clean_rows(patients: int = 40, seed: int = 1) -> list[Row]:
    """Two visits for each patient, in the order of patients: consistent ages, sexes and id cards, no two notes alike."""
    draw = random.Random(seed)
    rows = []
    for patient in range(patients):
        sex = draw.choice("男女")
        born = draw.randint(1950, 1995)
        card = f"110105{born}0301{patient % 1000:03d}X"
        for visit in range(2):
            year = 2022 + visit
            code, name = draw.choice(_ILLNESSES)
            found = "，".join(f"{draw.choice(_HOW)}{symptom}" for symptom in draw.sample(_FOUND, 10))
            rows.append(
                dict(
                    zip(
                        HEADER,
                        (
                            f"{seed}{len(rows):06d}",
                            f"P{seed}{patient:04d}",
                            f"{year}-05-{draw.randint(1, 28):02d}",
                            draw.choice(("全科医学科", "内科")),
                            sex,
                            f"{year - born}岁",
                            card,
                            f"{draw.choice(_FOUND)}{draw.randint(2, 9)}天",
                            f"{found}。",
                            code,
                            name,
                        ),
                        strict=True,
                    )
                )
            )
    return rows


def text_of(rows: list[Row], header: tuple[str, ...] = HEADER) -> str:
    """The rows as CSV."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header)
    writer.writerows([row[name] for name in header] for row in rows)
    return buffer.getvalue()


def write_export(path: Path, rows: list[Row], header: tuple[str, ...] = HEADER) -> Path:
    """A UTF-8 CSV of the rows."""
    path.write_bytes(text_of(rows, header).encode())
    return path
