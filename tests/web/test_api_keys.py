"""Keys: read again when their file changes, and wrong ones are slowed down."""

from pathlib import Path

import pytest

from etude.web.api_errors import ApiError
from etude.web.api_keys import MAX_ADDRESSES, MAX_WRONG, KeyRing, create_key


def test_a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    first = create_key(file, "ana", ["chat"])
    ring = KeyRing(file=file)
    assert ring.check(first, "a").name == "ana"
    second = create_key(file, "ben", ["chat"])
    assert ring.check(second, "a").name == "ben"
    file.write_text("broken\n")
    assert ring.check(first, "a").name == "ana"
    file.unlink()
    assert ring.check(second, "a").name == "ben"


def test_after_many_wrong_keys_an_address_waits_but_not_with_a_right_one(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    right = create_key(file, "ana", ["chat"])
    ring = KeyRing(file=file)
    for _ in range(MAX_WRONG):
        with pytest.raises(ApiError) as error:
            ring.check("wrong", "a")
        assert error.value.status == 401
    with pytest.raises(ApiError) as error:
        ring.check("", "a")
    assert error.value.status == 429
    assert 1 <= (error.value.retry_after or 0) <= 61
    assert ring.check(right, "a").name == ring.check(right, "b").name == "ana"


def test_the_number_of_counted_addresses_is_bounded() -> None:
    ring = KeyRing(file=Path("/nowhere"))
    for number in range(MAX_ADDRESSES + 10):
        with pytest.raises(ApiError):
            ring.check("wrong", str(number))
    assert len(ring._wrong) == MAX_ADDRESSES
