"""The routes of this package for a server in this process (serving.py)."""

from collections.abc import Sequence

from etude.index.build import DEFAULT_ENCODER
from etude.serve.extension import ServerExtension
from etude_openai import background
from etude_openai.extension import OpenAIExtension
from etude_openai.hosted.stores import HostedStores


def extend(stores: HostedStores, encoder: str = DEFAULT_ENCODER) -> Sequence[ServerExtension]:
    """The routes with these stores. Work in the background is looked for often."""
    background.POLL_SECONDS = 0.02
    return [OpenAIExtension(stores, encoder)]
