"""Values that JSON can hold, of any dataclass: finite numbers, and texts that are characters."""

from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(Path, TEXTS.map(Path))


def built(kind: type[T]) -> st.SearchStrategy[T]:
    return st.from_type(kind)
