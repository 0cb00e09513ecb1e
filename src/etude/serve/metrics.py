"""What a server counts, in Prometheus's format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from etude.serve.engine import Engine, Finished

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Figures:
    """Counters of one server."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("etude_requests", "Requests.", ["path", "status"], registry=self.registry)
        self.tokens = Counter("etude_tokens", "Tokens.", ["model", "kind"], registry=self.registry)
        self.handovers = Counter(
            "etude_handovers", "Answers for a person.", ["model"], registry=self.registry
        )
        self.seconds = Histogram(
            "etude_answer_seconds",
            "Seconds of an answer.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        for name, what, read in (
            ("etude_waiting", "Questions that wait.", lambda: engine.num_waiting),
            ("etude_live", "Answers that are being written.", lambda: engine.num_live),
        ):
            Gauge(name, what, registry=self.registry).set_function(read)

    def answered(self, model: str, done: Finished, handed_over: bool) -> None:
        """Counts one answer."""
        self.tokens.labels(model, "prompt").inc(done.completion.prompt_tokens)
        self.tokens.labels(model, "cached").inc(done.completion.cached_tokens)
        self.tokens.labels(model, "answer").inc(done.completion.answer_tokens)
        self.seconds.labels(model).observe(done.completion.seconds)
        self.handovers.labels(model).inc(handed_over)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
