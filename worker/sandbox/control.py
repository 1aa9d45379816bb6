"""The sandbox's own endpoints: its log, and the behaviours changed while it runs."""

from urllib.parse import unquote

import orjson
from aiohttp import web

from .desk import Desk
from .options import BadOption, split_name


def control_routes(desk: Desk) -> list[web.RouteDef]:
    """What is served under `/sandbox/`."""

    async def get_log(request: web.Request) -> web.Response:
        query = request.query
        key = split_name(query["key"])[0] if "key" in query else None
        since = query.get("since", "0")
        if not since.isdecimal():
            return _error(f"since={since!r} is no sequence number")
        keys = {name: found.counts() for name, found in desk.keys.by_name.items() if key in (None, name)}
        return _json({"calls": list(desk.log.select(key, query.get("model"), int(since))), "keys": keys})

    async def delete_log(request: web.Request) -> web.Response:
        desk.clear()
        return web.Response(status=204)

    async def get_behaviours(request: web.Request) -> web.Response:
        return _json(desk.redirects)

    async def put_behaviour(request: web.Request) -> web.Response:
        try:
            match orjson.loads(await request.read()):
                case {"behaviour": str(behaviour)}:
                    desk.redirect(_model(request), behaviour)
                case body:
                    return _error(f'expected {{"behaviour": "<name>"}}, not {body!r}')
        except (orjson.JSONDecodeError, BadOption) as error:
            return _error(str(error))
        return web.Response(status=204)

    async def delete_behaviour(request: web.Request) -> web.Response:
        desk.redirects.pop(_model(request), None)
        return web.Response(status=204)

    return [
        web.get("/sandbox/log", get_log),
        web.delete("/sandbox/log", delete_log),
        web.get("/sandbox/behaviours", get_behaviours),
        web.put("/sandbox/behaviours/{model:.+}", put_behaviour),
        web.delete("/sandbox/behaviours/{model:.+}", delete_behaviour),
    ]


def _model(request: web.Request) -> str:
    """The model of the path; its options may follow a bare `?`, as curl sends them, or an escaped one."""
    model = request.match_info["model"]
    return f"{model}?{unquote(request.rel_url.raw_query_string)}" if request.query_string else model


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _error(message: str) -> web.Response:
    return web.Response(status=400, body=orjson.dumps({"error": {"message": message}}), content_type="application/json")
