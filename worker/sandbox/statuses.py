"""The HTTP statuses the provider can answer with, and what its error says then."""

from .steps import Failure

STATUSES: dict[int, tuple[str, str]] = {
    400: ("invalid_request", "The request is not valid."),
    401: ("invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_balance", "Insufficient balance."),
    403: ("permission_denied", "This key may not use this resource."),
    404: ("model_not_found", "The model does not exist or you do not have access to it."),
    408: ("request_timeout", "The request took too long."),
    409: ("conflict", "The request conflicts with another one."),
    413: ("request_too_large", "The request is too large."),
    422: ("unprocessable_entity", "The request could not be processed."),
    425: ("too_early", "The request came too early."),
    429: ("rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", "The server had an error while processing your request."),
    502: ("bad_gateway", "Bad gateway."),
    503: ("service_unavailable", "The service is temporarily unavailable."),
    504: ("gateway_timeout", "The upstream did not answer in time."),
    529: ("overloaded", "The engine is currently overloaded."),
}
"""status: (`error.code`, `error.message`)"""

MESSAGES: dict[str, str] = {
    "context_length_exceeded": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    ),
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details.",
    "content_policy_violation": "Your request was rejected as a result of our safety system.",
    "concurrency_limit_exceeded": "Too many concurrent requests for this key.",
}
"""`error.code`: its own message, in place of the status's"""


def failure(status: int, code: str = "", message: str = "") -> Failure:
    """The error object of a status; what is not given is what the status says by itself."""
    own_code, own_message = STATUSES[status]
    return Failure(code or own_code, message or MESSAGES.get(code, own_message), kind=status)
