"""The folder of a sample federation: one CSV per site, the server's sets, the settings and the truth beside them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from emr_fl_deploy.corpus.hospitals import Layout
from emr_fl_deploy.corpus.planting import Planted
from emr_fl_deploy.corpus.sizes import Sizes
from emr_fl_shared.errors import StorageError, UsageError
from emr_fl_shared.messages import tr

TRUTH_README = """\
What the generator planted. Only tests and audits read this folder; `emr-fl` never does.

identifiers.jsonl   one line per identifier in a text cell:
    file     path in this federation
    row      number of the data row, from 0; the header does not count
    column   header of the column, as written in the file
    start, end   code points in the cell, end not included
    kind     what it is (PATIENT_NAME, ID_CARD, PHONE ...)
columns.json        file -> header -> kind, for the columns whose every cell is an identifier
errors.jsonl        file, row of the records whose codes are wrong on purpose (label noise)

Every person, number and address is invented.
"""


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends well and vanishes when it does not.

    Raises `UsageError` if `out` is a file or not empty, `StorageError` if it can't be written.
    """
    out = Path(os.path.abspath(out))
    check_target(out)
    missing = [parent for parent in out.parents if not parent.exists()]  # the nearest first
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        _remove_empty(missing)
        raise _unwritable(out, error) from None
    try:
        yield staged
        check_target(out)
        staged.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        staged.rename(out)
    except OSError as error:
        raise _unwritable(out, error) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        _remove_empty(missing)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty, or never made: nothing to undo
            folder.rmdir()


def check_target(out: Path) -> None:
    """Raise `UsageError` unless `out` does not exist yet or is an empty folder."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(
            tr("the output is not a folder", "输出位置不是文件夹"), where="--out", got=str(out), do=_another()
        )
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            tr("the output folder is not empty", "输出文件夹不是空的"),
            where="--out",
            got=str(out),
            do=_another(),
        )


def _another() -> str:
    return tr("name a folder that does not exist yet", "请指定一个尚不存在的文件夹")


def _unwritable(out: Path, error: OSError) -> StorageError:
    return StorageError(
        tr("the sample federation could not be written", "样例联邦无法写入"),
        where=str(out),
        got=error.strerror or type(error).__name__,
        do=tr("check free space and permissions", "请检查剩余空间和权限"),
    )


def write_csv(path: Path, layout: Layout, rows: Sequence[Mapping[str, str]]) -> None:
    """Rows of canonical cells under the layout's own headers, in its encoding, `\\r\\n` as spreadsheets write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(layout.headers.values())
    for row in rows:
        writer.writerow([row.get(name, "") for name in layout.headers])
    path.write_bytes(buffer.getvalue().encode(layout.encoding))


def write_truth(
    folder: Path,
    planted: Mapping[str, Sequence[tuple[int, Planted]]],
    layouts: Mapping[str, Layout],
    wrong: Mapping[str, Sequence[int]],
    identifier_columns: Sequence[str],
) -> None:
    """`truth/`: what was planted where."""
    truth = folder / "truth"
    truth.mkdir()
    (truth / "README").write_text(TRUTH_README, encoding="utf-8")
    with (truth / "identifiers.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
        for file, entries in planted.items():
            headers = layouts[file].headers
            for row, item in entries:
                lines.write(
                    json.dumps(
                        {
                            "file": file,
                            "row": row,
                            "column": headers[item.column],
                            "start": item.start,
                            "end": item.end,
                            "kind": item.kind,
                        },
                        ensure_ascii=False,
                    )
                    + "\n"
                )
    columns = {
        file: {header: name for name, header in layout.headers.items() if name in identifier_columns}
        for file, layout in layouts.items()
    }
    (truth / "columns.json").write_text(
        json.dumps(columns, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    with (truth / "errors.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
        for file, rows in wrong.items():
            for row in rows:
                lines.write(json.dumps({"file": file, "row": row}) + "\n")


def federation_toml(sizes: Sizes, layouts: Mapping[str, Layout], seed: int) -> str:
    """The settings of the folder. Rounds, model and training are left to the defaults."""
    from emr_fl_shared.sources.headers import lookup

    lines = [
        "# A sample federation: every record, person and number in it is invented.",
        "# Scores on it say nothing about patients.",
        "",
        "[federation]",
        f'name = "sample-{seed}"',
        f"min_sites = {min(2, len(sizes.sites))}",
        "",
        "[labels]",
        'taxonomy = "outpatient-50"',
        "",
        "[evaluation.sets]",
    ]
    for name, size in (
        ("validation", sizes.validation),
        ("standard", sizes.standard),
        ("cross_site", sizes.cross_site),
    ):
        if size:
            lines.append(f'{name} = "server/{name}.csv"')
    for site in sizes.sites:
        source = f"sites/{site}.csv"
        lines += ["", f"[sites.{site}]", f'source = "{source}"']
        strange = {
            name: header
            for name, header in layouts[source].headers.items()
            if (found := lookup(header)) is None or found[0] != name
        }
        if strange:
            lines.append(f"[sites.{site}.columns]")
            lines += [
                f"{name} = {json.dumps(header, ensure_ascii=False)}" for name, header in strange.items()
            ]
    return "\n".join(lines) + "\n"
