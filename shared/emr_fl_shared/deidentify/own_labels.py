"""Labels of a site's own recogniser → kinds of identifiers, as its settings say."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from emr_fl_shared.deidentify.spans import KINDS
from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr


def kinds_of_labels(labels: Mapping[str, str], known: Collection[str], *, where: str) -> dict[str, str]:
    """`labels`, checked; empty: those of `known` that are kinds themselves.

    `known`: the labels that the recogniser gives; `where`: the setting that holds `labels`. Raises `ModelError` for a kind or
    label that does not exist, and if none is left.
    """
    expected = ", ".join(sorted(known))
    for label, kind in labels.items():
        if kind not in KINDS:
            raise ModelError(
                tr("no such kind of identifier", "没有这种标识符类别"),
                where=f"{where}.{label}",
                got=kind,
                expected=", ".join(KINDS),
            )
        if label not in known:
            raise ModelError(
                tr("the site's recogniser has no such label", "机构自带的识别器没有该标签"),
                where=f"{where}.{label}",
                expected=expected,
            )
    chosen = dict(labels) or {label: label for label in known if label in KINDS}
    if not chosen:
        raise ModelError(
            tr("none of the recogniser's labels is a kind of identifier", "识别器的标签都不是标识符类别"),
            where=where,
            got=expected,
            do=tr('name them: PER = "PATIENT_NAME"', '请给出对应：PER = "PATIENT_NAME"'),
        )
    return chosen
