"""The recognisers that come with emr-fl, one module for each family of identifiers. Importing them registers them."""

from __future__ import annotations

from emr_fl_shared.deidentify.recognisers import (
    address,
    ages,
    bare_names,
    contact,
    dates,
    flanked_names,
    id_card,
    known,
    likely_names,
    names,
    numbers,
    organisations,
    phone,
)

__all__ = [
    "address",
    "ages",
    "bare_names",
    "contact",
    "dates",
    "flanked_names",
    "id_card",
    "known",
    "likely_names",
    "names",
    "numbers",
    "organisations",
    "phone",
]
