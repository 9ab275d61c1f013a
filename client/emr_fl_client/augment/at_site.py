"""What of `[training.augmentation]` that needs a model a site can do, with the models that it has.

`mlm` takes the site's own folder, then what the federation's warm-up left here, then the encoder's own weights. `back_translation` without
folders becomes `pivot`. What there is no model for is left to the rules, and the site is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from emr_fl_client.augment.back_translation import BackTranslation
from emr_fl_client.augment.mlm import MaskedWords
from emr_fl_client.augment.rewriter import Rewriter, Rewriters
from emr_fl_client.augment.translations import Translations
from emr_fl_client.kept_masked_lm import KeptMaskedLM
from emr_fl_client.own_models import check_folders
from emr_fl_shared.config.settings import TINY, Augmentation, Rewriting
from emr_fl_shared.model.masked_lm import MaskedLM, build_masked_lm, check_head
from emr_fl_shared.model.tensors import load_tensors, shapes_of

Progress = Callable[[dict[str, Any]], None]


def site_rewriters(
    augmentation: Augmentation,
    rewriting: Rewriting,
    *,
    rules_share: float,
    encoder: str,
    max_length: int,
    kept: KeptMaskedLM,
    cache: Translations,
    device: torch.device,
    where: str,
    progress: Progress,
) -> Rewriters | None:
    """The operators with a share and a model; `None` if there is none. `encoder`: where the federation's encoder is.

    Raises `SettingsError` or `ModelError` for a folder that is set and can't be used.
    """
    check_folders(rewriting, where=where)
    shares: dict[Rewriter, float] = {}
    wanted: Mapping[str, float] = augmentation.rewriter_shares()
    if share := wanted.get("mlm"):
        masked = _masked_lm(rewriting, encoder, max_length, kept, where)
        if masked is None:
            progress({"doing": "without-model", "operator": "mlm"})
        else:
            masked.model.to(device)
            shares[MaskedWords(masked, pick=augmentation.mlm_pick)] = share
    if (share := wanted.get("back_translation")) and rewriting.forward and rewriting.backward:
        translation = BackTranslation(
            rewriting.forward,
            rewriting.backward,
            cache=cache,
            gate=augmentation.bleu,
            device=device,
        )
        shares[translation] = share
    return Rewriters(rules_share, shares) if shares else None


def _masked_lm(
    rewriting: Rewriting, encoder: str, max_length: int, kept: KeptMaskedLM, where: str
) -> MaskedLM | None:
    if rewriting.masked_lm is not None:
        own = build_masked_lm(rewriting.masked_lm, max_length=max_length, only_local=True)
        return check_head(own, where=f"{where}.masked_lm")
    masked = build_masked_lm(encoder, max_length=max_length)
    if (trained := kept.find(shapes_of(masked.model))) is not None:
        load_tensors(masked.model, trained)
        return masked
    return None if encoder == TINY else check_head(masked, where="training.augmentation.mlm")
