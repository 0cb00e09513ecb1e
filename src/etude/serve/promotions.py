"""Take up promoted assistants while the server runs."""

import threading
from contextlib import suppress

from etude.serve.server import Server

POLL_SECONDS = 0.5


def follow_promotions(server: Server, closing: threading.Event) -> None:
    """Take up what is promoted for the tasks that are served, until the event is set."""
    files = {
        name: served.promotions for name, served in server.catalogue.items() if served.promotions
    }
    stamps = dict.fromkeys(files, 0)
    while files and not closing.wait(POLL_SECONDS):
        for name, file in files.items():
            with suppress(OSError):  # nothing was promoted yet
                if (stamp := file.stat().st_mtime_ns) != stamps[name]:
                    stamps[name] = stamp
                    server.take_up_promoted(name)
