"""Find personal data and secrets in texts, and mask them consistently."""

from etude.privacy.find import find, find_by_format
from etude.privacy.mask.masking import Masker
from etude.privacy.own_contact import OwnContact
from etude.privacy.spans import BLOCKING, GRAVE, KINDS, REVIEW, Span
