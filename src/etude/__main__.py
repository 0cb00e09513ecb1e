"""`python -m etude` is `etude`."""

from etude.cli import entry

entry()
