"""The page of errors: the surest ones, on the server's texts, escaped, and only where it is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emr_fl_server.evaluation.errors import SHOWN, ConfidentError, confident_errors
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_server.report.errors import ERRORS, marked, write_errors
from emr_fl_shared.config import Settings
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.attribution import WordWeight
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape

TAXONOMY = column_taxonomy(["呼吸", "消化"])


def found_for(n: int) -> tuple[list[ConfidentError], HeldOutSet, np.ndarray]:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    encoder = build_model("tiny", TAXONOMY.names, max_length=32, seed=0, shape=shape)
    generator = np.random.default_rng(0)
    y = generator.random((n, 2)) < 0.5
    texts = [f"咳嗽{row}天，伴发热。" for row in range(n)]
    standard = HeldOutSet("standard", texts, y, [str(row) for row in range(n)])
    probabilities = generator.random((n, 2))
    return confident_errors(encoder, standard, probabilities, Decision()), standard, probabilities


def test_the_surest_errors_of_each_kind_come_first() -> None:
    errors, standard, p = found_for(200)
    given = [error.probability for error in errors if error.kind == "given"]
    missed = [error.probability for error in errors if error.kind == "missed"]
    assert len(given) == len(missed) == SHOWN
    wrong = np.sort(np.where(~standard.y & (p >= 0.5), p, 0.0).max(axis=1))[::-1][:SHOWN]
    assert given == pytest.approx(wrong.tolist())
    lost = np.sort(np.where(standard.y & (p < 0.5), p, 1.0).min(axis=1))[:SHOWN]
    assert missed == pytest.approx(lost.tolist())
    for error in errors:
        row = standard.texts.index(error.text)
        assert error.true == tuple(np.flatnonzero(standard.y[row]))
        assert (error.label in error.true) is (error.kind == "missed")
        assert {"咳嗽", "发热"} <= {word.word for word in error.words}


def test_no_error_no_entry() -> None:
    errors, standard, _ = found_for(3)
    assert all(error.text in standard.texts for error in errors)
    encoder = build_model("tiny", TAXONOMY.names, max_length=32)
    assert confident_errors(encoder, standard, standard.y * 0.8 + 0.1, Decision()) == []


def test_the_page_is_escaped_and_complete(tmp_path: Path) -> None:
    text = "<script>alert(1)</script>咳嗽"
    error = ConfidentError("given", 0, 0.987, (1,), text, (WordWeight(25, 27, "咳嗽", -0.5),))
    page = write_errors(tmp_path, "run <b>", [error], TAXONOMY).read_text(encoding="utf-8")
    assert page.count("<script>") == 1 and "&lt;script&gt;alert(1)" in page and "run &lt;b&gt;" in page
    assert '<span class="against" style="--w:1.00" title="-0.50">咳嗽</span>' in page
    assert "98.7%" in page and "http" not in page.replace("http-equiv", "")
    assert (tmp_path / ERRORS).stat().st_size == len(page.encode())


def test_all_of_the_text_is_there() -> None:
    text = "患者 咳嗽，发热。"
    words = (WordWeight(3, 5, "咳嗽", 1.0), WordWeight(6, 8, "发热", 0.25))
    shown = marked(ConfidentError("given", 0, 0.9, (), text, words))
    assert shown.striptags().replace(" ", "") == text.replace(" ", "")
    assert "--w:0.25" in shown


def test_it_is_off_unless_asked_for() -> None:
    assert Settings().evaluation.explain is False
