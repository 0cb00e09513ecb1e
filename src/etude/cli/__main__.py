"""`python -m etude.cli` is `etude`."""

from etude.cli import entry

entry()
