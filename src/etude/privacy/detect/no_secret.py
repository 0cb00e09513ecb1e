"""Recognise values that look like a password or key but are code, types or placeholders of
templates.

A literal in quotes is a secret. In code, a value without quotes is a name, as in
`password=user_pw`, and so is a value with a call, an index or dots: `getpass.getpass()`,
`os.environ["PW"]`, `req.body.password`.
"""

import re
from functools import lru_cache

from etude.base.word_lists import read_table

_TABLE = read_table(__file__, "no_secret.yaml")
_WORDS = {key: "|".join(words) for key, words in _TABLE["words"].items()}
_PATTERNS = {name: re.compile("".join(pieces)) for name, pieces in _TABLE["patterns"].items()}
_NO_VALUE = re.compile(_WORDS["nothing"], re.I)
# Words for a password, such as `your_password_here` and `changeme`
_PASSWORD_WORD = re.compile(
    rf"(?:(?:{_WORDS['before']})[ _-]?){{0,4}}(?:{_WORDS['password']})(?:[ "
    rf"_-]?(?:here|goes here|value|name)){{0,2}}",
    re.I,
)
_SELF_DESCRIBING = re.compile(_WORDS["says_so"], re.I)
_CODE_OBJECT = re.compile(rf"(?:{_WORDS['objects']})\b|.*(?:pass|pwd|secret|cred)", re.I)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_MESSAGE = re.compile(rf"\b(?:{_WORDS['message']})\b", re.I)


def is_placeholder(value: str) -> bool:
    """Whether a value is a placeholder of a template, or a word for an absent value."""
    patterns = (_NO_VALUE, _PASSWORD_WORD, _SELF_DESCRIBING, _PATTERNS["mark"])
    return any(pattern.fullmatch(value) for pattern in patterns)


def is_message(match: re.Match[str]) -> bool:
    """Whether several words in quotes are a prompt or an error message."""
    text = match.string
    start = match.start("value")
    end = text.find(text[start - 1], start, start + 300)
    return end > 0 and " " in text[start:end] and bool(_MESSAGE.search(text, start, end))


def is_call(match: re.Match[str]) -> bool:
    """Whether the value begins a call or an index, as in `getpass.getpass()`."""
    call = _PATTERNS["call"].match(match.string, match.start("value"))
    return bool(call and _PATTERNS["brackets"].match(match.string, call.end()))


def is_expression(match: re.Match[str], link: str) -> bool:
    """Whether a value without quotes, after a label and `link`, is code: a call, a variable or a
    type.
    """
    text = match.string
    start = match.start("value")
    if is_call(match) or _PATTERNS["set_again"].match(text, match.end("value")):
        return True
    end = match.end("value")
    value = text[start:end].rstrip(".,;:)]}>")
    if _PATTERNS["path"].fullmatch(value) and "pwd" in match[0].lower():
        return True
    if not link:
        return False
    is_set = link in ("=", ":=")
    if _PATTERNS["chain"].fullmatch(value):
        return bool(is_set or _CODE_OBJECT.match(value)) and not _is_shell(match, start)
    if _PATTERNS["grouped"].match(value) and is_set:
        return True
    return bool(_NAME.fullmatch(value)) and _is_in_code(match, start, value, link)


def _is_in_code(match: re.Match[str], start: int, value: str, link: str) -> bool:
    """Whether a name without quotes is in a program, where it means a variable or a type."""
    text = match.string
    if link not in ("=", ":="):
        return link == ":" and value.isalpha() and _is_program(text)
    if _is_shell(match, start):
        return False
    line = text[max(match.start() - 200, 0) : match.start()].rpartition("\n")[2]
    is_followed = text.startswith((",", ")"), start + len(value))
    return (is_followed and line.count("(") > line.count(")")) or _is_program(text)


@lru_cache(maxsize=2)
def _is_program(text: str) -> bool:
    """Whether a line of the text is code. Cached, because it is called for each password of a
    text.
    """
    return bool(_PATTERNS["code"].search(text))


def _is_shell(match: re.Match[str], start: int) -> bool:
    """Whether `NAME=value` begins a line without spaces, as in a shell or a file of settings."""
    text = match.string
    tight = text[start - 1 : start] == "=" and text[start - 2 : start - 1] != " "
    return tight and bool(
        _PATTERNS["shell"].search(text, max(match.start() - 80, 0), match.start())
    )
