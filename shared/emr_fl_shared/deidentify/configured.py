"""The cleaner that a site's settings describe: rules, staff roster, the site's own token classifier and Presidio recognisers, operators."""

from __future__ import annotations

import hashlib
from pathlib import Path

from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify.deidentifier import Deidentifier
from emr_fl_shared.deidentify.generalise import Generalisation
from emr_fl_shared.deidentify.registry import Recogniser, recognisers
from emr_fl_shared.deidentify.roster import Roster, read_roster


def site_deidentifier(settings: SiteSettings, *, key: bytes) -> Deidentifier:
    """A new cleaner. `key` keys pseudonyms and shifts of dates.

    Raises `DataError` (roster), `ModelError` (token classifier, Presidio) or `SettingsError` (Presidio is not installed).
    """
    chosen: list[Recogniser] = list(recognisers())
    if settings.roster:
        chosen.append(Roster(read_roster(Path(settings.roster))))
    own = settings.deidentification
    if own.ner:
        from emr_fl_shared.deidentify.token_classifier import TokenClassifier

        chosen.append(TokenClassifier(Path(own.ner), own.ner_labels, device=own.ner_device))
    if own.presidio:
        from emr_fl_shared.deidentify.presidio import Presidio

        chosen.append(Presidio.from_file(Path(own.presidio), own.presidio_labels))
    operators = own.operators
    return Deidentifier(
        chosen,
        key=key,
        generalisation=Generalisation(
            dates=operators.DATE,
            ages=operators.AGE,
            old_ages=operators.AGE90,
            beds=operators.BED_NUM,
            visits=operators.VISIT_NUM,
        ),
    )


def files_digest(settings: SiteSettings) -> str:
    """SHA-256 (hex) of the files that the cleaner rests on beside this package: roster, token classifier and Presidio
    recognisers; empty without them."""
    paths: list[Path] = []
    if settings.roster:
        paths.append(Path(settings.roster))
    if settings.deidentification.ner:
        paths += sorted(path for path in Path(settings.deidentification.ner).rglob("*") if path.is_file())
    if settings.deidentification.presidio:
        paths.append(Path(settings.deidentification.presidio))
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if paths else ""
