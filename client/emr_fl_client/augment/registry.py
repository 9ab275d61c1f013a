"""All operators by name."""

from __future__ import annotations

from emr_fl_client.augment.character_noise import CharacterNoise
from emr_fl_client.augment.colloquial import Colloquial
from emr_fl_client.augment.eda import Eda
from emr_fl_client.augment.fields import Fields
from emr_fl_client.augment.operator import Operator
from emr_fl_client.augment.pivot import Pivot
from emr_fl_client.augment.placeholders import Placeholders
from emr_fl_client.augment.punctuation import Punctuation
from emr_fl_client.augment.synonyms import Synonyms


def operators() -> dict[str, Operator]:
    """A fresh operator of each kind with the default intensities, by name."""
    made: tuple[Operator, ...] = (
        Synonyms(),
        Colloquial(),
        Eda(),
        Placeholders(),
        CharacterNoise(),
        Fields(),
        Punctuation(),
        Pivot(),
    )
    return {operator.name: operator for operator in made}
