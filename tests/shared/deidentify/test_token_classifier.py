"""A site's own NER model: a small BERT that is trained here, saved as a Hugging Face folder, and plugged in by settings."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from emr_fl_shared.config.settings import Deidentification, SiteSettings
from emr_fl_shared.deidentify import Deidentifier, Span, recognisers
from emr_fl_shared.deidentify.configured import site_deidentifier
from emr_fl_shared.deidentify.token_classifier import TokenClassifier, _entity
from emr_fl_shared.errors import ModelError
from emr_fl_shared.records import Record
from emr_fl_shared.text.tokeniser import tiny_tokenizer, tiny_vocabulary

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
# Nicknames that no rule of ours announces or knows: only the model can find them.
NICKNAMES = ["阿毛头", "阿花婶", "阿贵伯", "阿香姐", "阿福叔", "阿兰嫂"]
HAMLETS = ["里沟口", "外沟口", "上坡头", "下坡头"]
FRAMES = [
    "夜间{P}发现其呼吸困难",
    "因{P}发现腹痛来诊",
    "{P}诉其三天未进食",
    "平时在{L}打柴后腰痛",
    "昨在{L}滑倒",
    "咳嗽咳痰三天无发热",
    "头晕两周血压高",
]


def sentence(rng: random.Random) -> tuple[str, list[int]]:
    text, labels = "", []
    for part in rng.choice(FRAMES).replace("{", "|{").replace("}", "}|").split("|"):
        kind = {"{P}": 1, "{L}": 3}.get(part)
        value = part if kind is None else rng.choice(NICKNAMES if kind == 1 else HAMLETS)
        text += value
        labels += [0] * len(value) if kind is None else [kind] + [kind + 1] * (len(value) - 1)
    return text, labels


def note(rng: random.Random) -> tuple[str, list[int]]:
    """One to three sentences, so that names stand anywhere in a window."""
    text, labels = sentence(rng)
    for _ in range(rng.randrange(3)):
        more, marks = sentence(rng)
        text, labels = f"{text}，{more}", [*labels, 0, *marks]
    return text[:45] + "。", [*labels[:45], 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertForTokenClassification

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for so small a model, and gentle to whatever else runs
    torch.manual_seed(1)
    rng = random.Random(1)
    tokenizer = tiny_tokenizer(48)
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=48,
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
        )
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(160):
        pairs = [note(rng) for _ in range(24)]
        batch = tokenizer([text for text, _ in pairs], padding=True, return_tensors="pt")
        targets = torch.full(batch["input_ids"].shape, -100)
        for row, (_, labels) in enumerate(pairs):
            targets[row, 1 : 1 + len(labels)] = torch.tensor(labels)
        loss = model(**batch, labels=targets).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    torch.set_num_threads(threads)
    path = tmp_path_factory.mktemp("ner") / "model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


MAP = {"PER": "RELATIVE_NAME", "LOC": "ADDRESS"}


def settings(folder: Path) -> SiteSettings:
    return SiteSettings(source="x.csv", deidentification=Deidentification(ner=str(folder), ner_labels=MAP))


def test_it_finds_what_it_learnt_and_the_rules_do_not(folder: Path) -> None:
    text = "咳嗽三天，夜间阿毛头发现其呼吸困难，昨在外沟口滑倒。"
    assert Deidentifier(recognisers(), key=b"k").text(text)[0] == text
    cleaner = site_deidentifier(settings(folder), key=b"k" * 32)
    cleaned, spans = cleaner.text(text)
    assert cleaned == "咳嗽三天，夜间[RELATIVE_NAME]发现其呼吸困难，昨在[ADDRESS]滑倒。"
    assert [text[span.start : span.end] for span in spans] == ["阿毛头", "外沟口"]
    assert cleaner.text(cleaned) == (cleaned, [])
    both, _ = cleaner.text("患者张建国，电话13800138000。")
    assert "[PATIENT_NAME]" in both and "[PHONE]" in both, "the rules work beside the model"


def test_recall_on_new_sentences(folder: Path) -> None:
    rng = random.Random(9)
    found = wanted = 0
    model = TokenClassifier(folder, MAP)
    for text, labels in (sentence(rng) for _ in range(120)):
        truth = {(index, index + 3) for index, label in enumerate(labels) if label in (1, 3)}
        spans = {(span.start, span.end) for span in model.find(text, {})}
        wanted += len(truth)
        found += len(truth & spans)
    assert wanted > 60 and found / wanted > 0.9


def test_batches_and_single_texts_agree(folder: Path) -> None:
    rng = random.Random(5)
    texts = [sentence(rng)[0] for _ in range(70)] + ["", "咳"]
    model, batched = TokenClassifier(folder, MAP), TokenClassifier(folder, MAP)
    batched.warm(texts)
    for text in texts:
        one, other = list(model.find(text, {})), list(batched.find(text, {}))
        assert [span[:3] for span in one] == [span[:3] for span in other]
        assert [span.score for span in one] == pytest.approx([span.score for span in other], abs=1e-3)


def test_long_texts_are_read_to_the_end(folder: Path) -> None:
    text = "咳嗽咳痰三天无发热，" * 30 + "昨在里沟口滑倒"
    assert len(text) > 300
    found = {(span.start, span.end) for span in TokenClassifier(folder, MAP).find(text, {})}
    assert (302, 305) in found and text[302:305] == "里沟口"


def test_records_are_read_ahead_in_order(folder: Path) -> None:
    cleaner = site_deidentifier(settings(folder), key=b"k" * 32)
    records = [Record(record_id=str(n), text=f"{n}号昨在上坡头滑倒") for n in range(130)]
    cleaned = list(cleaner.cleaned(records))
    assert [record for record, _ in cleaned] == records
    assert all("上坡头" not in result.record.text for _, result in cleaned[:20])


def test_protected_terms_stay(folder: Path) -> None:
    model = TokenClassifier(folder, MAP)
    model._protected = frozenset({"阿毛头"})
    assert not list(model.find("因阿毛头发现腹痛来诊", {}))
    assert list(model.find("因阿花婶发现腹痛来诊", {}))


@pytest.mark.parametrize(
    ("labels", "where"),
    [({"PER": "NAME"}, "ner_labels.PER"), ({"ORG": "HOSPITAL"}, "ner_labels.ORG"), ({}, "ner_labels")],
)
def test_wrong_label_maps(folder: Path, labels: dict[str, str], where: str) -> None:
    with pytest.raises(ModelError) as caught:
        TokenClassifier(folder, labels)
    assert where in str(caught.value)


def test_folders_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        TokenClassifier(tmp_path / "missing", MAP)
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="can't be read"):
        TokenClassifier(broken, MAP)


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    from safetensors.torch import load_file

    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="can't be read"):
        TokenClassifier(pickled, MAP)


def test_an_untrained_head_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    path = tmp_path / "encoder"
    BertModel(
        BertConfig(
            vocab_size=len(tiny_vocabulary()) + 40,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    ).save_pretrained(path)
    tiny_tokenizer(48).save_pretrained(path)
    with pytest.raises(ModelError, match="no trained"):
        TokenClassifier(path, MAP)


def test_labels_that_are_kinds_need_no_map(folder: Path, tmp_path: Path) -> None:
    import json

    own = Path(shutil.copytree(folder, tmp_path / "own"))
    config = json.loads((own / "config.json").read_text())
    config["id2label"] = dict(enumerate(["O", "B-RELATIVE_NAME", "I-RELATIVE_NAME", "B-X", "I-X"]))
    config["label2id"] = {name: int(index) for index, name in config["id2label"].items()}
    (own / "config.json").write_text(json.dumps(config))
    model = TokenClassifier(own)
    assert model.kinds == ("RELATIVE_NAME",)
    assert [span[:3] for span in model.find("因阿花婶发现腹痛来诊", {})] == [(1, 4, "RELATIVE_NAME")]


@pytest.mark.parametrize(
    ("label", "entity"),
    [
        ("B-PER", ("B", "PER")),
        ("S-LOC", ("S", "LOC")),
        ("PER", ("", "PER")),
        ("O", ("", "O")),
        ("X-Y", ("", "X-Y")),
    ],
)
def test_label_forms(label: str, entity: tuple[str, str]) -> None:
    assert _entity(label) == entity


def test_it_is_shown_without_texts(folder: Path) -> None:
    model = TokenClassifier(folder, MAP)
    model.warm(["因阿花婶发现腹痛来诊"])
    assert repr(model) == "TokenClassifier(ADDRESS, RELATIVE_NAME)"
    assert Span(0, 1, "X", 1.0) not in model._seen["因阿花婶发现腹痛来诊"]


def test_settings_refuse_an_unknown_device() -> None:
    with pytest.raises(ValidationError):
        Deidentification(ner="x", ner_device="tpu")
