"""A provider to rehearse on: a real HTTP server in OpenAI's dialect, with faults on demand.

The model's name chooses the behaviour, the key's name its limits; see docs/sandbox.md.

Example:
    $ python -m worker.sandbox --port 9100
    sandbox: http://127.0.0.1:9100/v1
"""

from .server import Server, serve, start

__all__ = ["Server", "serve", "start"]
