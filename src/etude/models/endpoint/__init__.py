"""Models behind an OpenAI-compatible URL: the requests, and the client that sends them until they
are answered.
"""

from collections.abc import Mapping

from etude.models.remote import Service
from etude.task import Endpoint
from etude.task.endpoint import parse_endpoint


def describe_service(name: str, endpoints: Mapping[str, Endpoint]) -> Service:
    """Describe the service behind a model's name, with the limits and prices that the task sets for
    it.
    """
    endpoint = endpoints.get(name) or parse_endpoint(name)
    if endpoint is None:
        return Service(name)
    return Service(
        endpoint.title,
        endpoint.is_local,
        endpoint.prices,
        endpoint.max_requests,
        endpoint.max_cost,
        endpoint.at_once,
    )
