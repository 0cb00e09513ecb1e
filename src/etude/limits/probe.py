"""The probe: some questions that hardly any assistant should answer."""

from functools import cache

from etude.base.word_lists import read_table


@cache
def read_probe() -> tuple[str, ...]:
    """Read the packaged questions."""
    return tuple(read_table(__file__, "probe.yaml"))
