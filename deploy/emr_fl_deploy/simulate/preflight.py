"""Everything that can be said about a federation before anything is started: what stops it, and what deserves a warning.

A simulation holds all files on one machine, so it may look at them together; it prints counts and label names, never a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from emr_fl_client.own_labels import site_mapping
from emr_fl_client.own_models import check_folders
from emr_fl_shared.config import Settings
from emr_fl_shared.config.settings import TINY
from emr_fl_shared.deidentify.roster import read_roster
from emr_fl_shared.errors import DataError, SettingsError, UsageError
from emr_fl_shared.labels import (
    COLUMN,
    NO_LOCAL_LABELS,
    LocalLabels,
    Taxonomy,
    check_chapters,
    check_several,
    column_taxonomy,
    load_taxonomy,
    map_labels,
)
from emr_fl_shared.messages import tr
from emr_fl_shared.preparation import count_labels
from emr_fl_shared.records import Record, note_text
from emr_fl_shared.sources import Source, describe_reason, read_records

SMALL_SITE = 32
"""Fewer records than one batch of the default size."""
_SHOWN = 8


@dataclass
class _File:
    """What was read from one file."""

    place: str
    records: list[Record] = field(repr=False)
    labels: Counter[str] = field(default_factory=Counter)


def check_count(settings: Settings, sites: int) -> None:
    """Raises `SettingsError` if there are fewer sites than a round needs."""
    needed = settings.federation.min_sites
    if sites < needed:
        raise SettingsError(
            tr("too few sites for a federation", "机构数不足以组成联邦"),
            where="sites",
            got=str(sites),
            expected=f">= {needed} (federation.min_sites)",
            do=tr("add [sites.NAME] blocks with a source", "请添加带 source 的 [sites.NAME] 段"),
        )


def check_gpus(gpus: float) -> None:
    """Raises `UsageError` if each site is to have more GPUs than this machine has."""
    if gpus <= 0:
        return
    import torch  # takes seconds: only for who asks for GPUs

    there = torch.cuda.device_count()
    if gpus > there:
        raise UsageError(
            tr("this machine does not have the GPUs asked for", "本机没有所要求的 GPU"),
            where="--gpus",
            got=f"{gpus:g}",
            expected=tr(
                f"at most {there} (GPUs that PyTorch {torch.__version__} finds here)",
                f"至多 {there}（PyTorch {torch.__version__} 在本机找到的 GPU 数）",
            ),
            do=tr(
                "leave --gpus out to run on the CPU; otherwise check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES",
                "去掉 --gpus 即在 CPU 上运行；否则请检查驱动 (nvidia-smi) 和 CUDA_VISIBLE_DEVICES",
            ),
        )


def check_device(settings: Settings, gpus: float | None = None) -> None:
    """Raises `SettingsError` if `[training]` asks for a GPU that is not there.

    `gpus`: how many each site of a simulation is given; where it is 0, sites see none of them.
    """
    device, precision = settings.training.device, settings.training.precision
    if device.startswith("cuda"):
        from emr_fl_shared.model.precision import choose_device  # imports torch

        choose_device(device)
    if gpus == 0 and (device.startswith("cuda") or precision == "fp16"):
        name, got = ("device", device) if device.startswith("cuda") else ("precision", precision)
        raise SettingsError(
            tr("the sites of a simulation are given no GPU", "模拟中的各机构未分配 GPU"),
            where=f"training.{name}",
            got=got,
            do=tr(
                f'give each site one with --gpus 1 (or a share), or set training.{name} = "auto"',
                f'请用 --gpus 1（或分数）为每家机构分配 GPU，或设 training.{name} = "auto"',
            ),
        )


def check_model(settings: Settings) -> None:
    """Raises `ModelError` if the encoder, or a site's own copy of it, can't be loaded."""
    if settings.model.name == TINY:
        return
    from emr_fl_shared.model.encoder import check_source  # imports torch and transformers

    check_source(settings.model.name)
    for name, site in sorted(settings.sites.items()):
        if site.model is not None:
            check_source(site.model, where=f"sites.{name}.model")


def check_labels(settings: Settings) -> None:
    """Raises `SettingsError` for a label set that can't be loaded, has one label only, or has no chapters where they are to be learned.

    One from the data is known later; it has no chapters.
    """
    name = settings.labels.taxonomy
    taxonomy = Taxonomy(COLUMN, "", ()) if name == COLUMN else load_taxonomy(name)
    if settings.training.loss.coarse:
        check_chapters(taxonomy)


def check_sources(settings: Settings) -> None:
    """Raises `SettingsError` or `DataError` for a set or a file that is not there, and for a staff roster or a
    model folder that can't be used; as `read_mapping` for a site's own mapping of labels."""
    from emr_fl_server.evaluation.held_out import standard_path

    standard_path(settings)
    for place, source in _places(settings):
        if source.is_database:
            continue  # asked when it is read
        path = source.location
        if Path(path).is_dir():
            raise DataError(
                tr("this is a folder, not a file", "这是文件夹，不是文件"),
                where=place,
                got=path,
                expected="CSV, TSV, XLSX, XLS, JSONL, Parquet",
            )
        if not Path(path).is_file():
            raise DataError(
                tr("no such file", "没有这个文件"),
                where=place,
                got=path,
                do=tr(
                    "check the path; it is relative to the settings file",
                    "请检查路径；它相对于设置文件所在目录",
                ),
            )
    for name, site in settings.sites.items():
        if site.roster:
            read_roster(Path(site.roster))
        check_folders(site.rewriting, where=f"sites.{name}.rewriting")
        site_mapping(site)


def read_all(settings: Settings) -> list[str]:
    """Read every file once, so that a bad one is said at once and not after minutes; returns the warnings.

    Raises `DataError` as `read_records` does, where too few sites have a record with a label of the label set, and where there
    is but one label.
    """
    warnings: list[str] = []
    files: list[_File] = []
    for place, source in _places(settings):
        columns = settings.evaluation.columns
        if place.startswith("sites."):
            columns = settings.sites[place.split(".", 1)[1].removesuffix(".source")].columns
        records, report = read_records(source, columns)
        if report.skipped:
            reasons = [
                f"{describe_reason(reason)}: {count}" for reason, count in sorted(report.skipped.items())
            ]
            left_out, listed = sum(report.skipped.values()), ", ".join(reasons)
            warnings.append(
                tr(
                    f"{place}: {left_out} of {report.rows} rows are left out ({listed})",
                    f"{place}：{report.rows} 行中有 {left_out} 行未使用（{listed}）",
                )
            )
        if report.repaired:
            listed = ", ".join(
                f"{describe_reason(what)}: {count}" for what, count in sorted(report.repaired.items())
            )
            warnings.append(tr(f"{place}: mended while read ({listed})", f"{place}：读取时修补（{listed}）"))
        files.append(_File(place, records))
    taxonomy = _taxonomy(settings, files)
    for file in files:
        own = None
        if file.place.startswith("sites."):
            own = site_mapping(settings.sites[file.place.split(".", 1)[1].removesuffix(".source")])
        warnings += _of_file(file, taxonomy, own.bind(taxonomy) if own is not None else NO_LOCAL_LABELS)
    _check_left(files, taxonomy, settings.federation.min_sites)
    check_several(taxonomy)
    return [*warnings, *_of_length(files, settings.model.max_length), *_of_labels(files)]


def _places(settings: Settings) -> list[tuple[str, Source]]:
    """(dotted place, source) of every file and database."""
    sites = [(f"sites.{name}.source", site.records_source()) for name, site in settings.sites.items()]
    sets = [(f"evaluation.sets.{name}", Source(path)) for name, path in settings.evaluation.sets if path]
    return sites + sets


def _taxonomy(settings: Settings, files: Iterable[_File]) -> Taxonomy:
    """The label set that the federation will agree on (`Federation.agree`, `Door.describe`)."""
    if settings.labels.taxonomy != COLUMN:
        return load_taxonomy(settings.labels.taxonomy)
    names: set[str] = set()
    for file in files:
        counts = count_labels(file.records)
        if file.place.startswith("sites."):
            policy = settings.sites[file.place.split(".", 1)[1].removesuffix(".source")].policy
            names |= {name for name, count in counts.items() if count >= policy.smallest_count}
        elif file.place in ("evaluation.sets.standard", "evaluation.sets.validation"):
            names |= set(counts)
    return column_taxonomy(names)


def _of_file(file: _File, taxonomy: Taxonomy, local: LocalLabels) -> list[str]:
    warnings = []
    unlabelled = 0
    for record in file.records:
        indices, _ = map_labels(record, taxonomy, local)
        file.labels.update(taxonomy.names[index] for index in indices)
        unlabelled += not indices
    n = len(file.records)
    if unlabelled == n:
        return [
            tr(
                f"{file.place}: none of {n} records has a label of the label set; it has nothing to train or score with",
                f"{file.place}：{n} 条记录的标签都不在标签体系中，无法用于训练或计分",
            )
        ]
    if unlabelled:
        warnings.append(
            tr(
                f"{file.place}: {unlabelled} of {n} records have no label of the label set and are left out",
                f"{file.place}：{n} 条记录中有 {unlabelled} 条的标签不在标签体系中，未使用",
            )
        )
    if file.place.startswith("sites.") and n - unlabelled < SMALL_SITE:
        warnings.append(
            tr(f"{file.place}: only {n - unlabelled} records", f"{file.place}：仅有 {n - unlabelled} 条记录")
        )
    return warnings


def _check_left(files: Iterable[_File], taxonomy: Taxonomy, needed: int) -> None:
    """Raises `DataError` if the sites that have a labelled record are too few for any round."""
    sites = [file for file in files if file.place.startswith("sites.")]
    left = [file for file in sites if file.labels]
    if len(left) >= needed:
        return
    empty = [file.place for file in sites if not file.labels]
    raise DataError(
        tr("no site is left after filtering", "过滤后没有剩余机构")
        if not left
        else tr("too few sites are left after filtering", "过滤后剩余的机构过少"),
        where=_listed(empty),
        got=tr(f"{len(left)} of {len(sites)} sites", f"{len(sites)} 家机构中的 {len(left)} 家"),
        expected=tr(
            f">= {needed} (federation.min_sites) with a record that has a label of {taxonomy.name}",
            f">= {needed}（federation.min_sites）家有属于标签体系 {taxonomy.name} 的记录",
        ),
        do=tr(
            'check their label columns and [labels] taxonomy; taxonomy = "column" takes the labels as they stand',
            '请检查其标签列和 [labels] taxonomy；taxonomy = "column" 表示直接使用数据中的标签',
        ),
    )


def _of_length(files: Iterable[_File], max_length: int) -> list[str]:
    """Texts longer than the model; in one line, as every corpus has a few."""
    texts = [note_text(record) for file in files for record in file.records]
    # two of the model's positions are taken; a character is at most one token of a Chinese encoder
    long = sum(1 for text in texts if len(text) > max_length - 2)
    if not long:
        return []
    return [
        tr(
            f"about {long} of {len(texts)} texts are longer than the model reads and will be cut (model.max_length = {max_length})",
            f"{len(texts)} 条文本中约有 {long} 条超过模型长度，将被截断（model.max_length = {max_length}）",
        )
    ]


def _of_labels(files: Iterable[_File]) -> list[str]:
    """Labels that one side never saw."""
    at_sites: set[str] = set()
    scored: set[str] = set()
    for file in files:
        if file.place.startswith("sites."):
            at_sites |= set(file.labels)
        else:
            scored |= set(file.labels)
    warnings = []
    if untrained := sorted(scored - at_sites):
        warnings.append(
            tr(
                f"{len(untrained)} labels of the held-out sets occur at no site and can't be learned: {_listed(untrained)}",
                f"留出集中有 {len(untrained)} 个标签在任何机构都未出现，无法学习：{_listed(untrained)}",
            )
        )
    if unscored := sorted(at_sites - scored):
        warnings.append(
            tr(
                f"{len(unscored)} labels of the sites occur in no held-out set and are not scored: {_listed(unscored)}",
                f"各机构有 {len(unscored)} 个标签未出现在留出集中，不会计分：{_listed(unscored)}",
            )
        )
    return warnings


def _listed(names: list[str]) -> str:
    more = f" … (+{len(names) - _SHOWN})" if len(names) > _SHOWN else ""
    return tr(", ", "、").join(names[:_SHOWN]) + more
