"""Personal data and secrets in text: found, masked consistently, and remembered only as keyed hashes."""

from etude.privacy.find import find, find_all, find_by_form
from etude.privacy.ledger import Ledger
from etude.privacy.mask import Masker
from etude.privacy.model import NameModel, load_model
from etude.privacy.own import OwnContact
from etude.privacy.spans import BLOCKING, GRAVE, KINDS, REVIEW, Span

__all__ = [
    "BLOCKING",
    "GRAVE",
    "KINDS",
    "REVIEW",
    "Ledger",
    "Masker",
    "NameModel",
    "OwnContact",
    "Span",
    "find",
    "find_all",
    "find_by_form",
    "load_model",
]
