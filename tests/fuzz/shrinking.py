"""A case made as small as it can be: first the requests before the one that failed, then that one itself.

Each attempt plays the steps in a new cloud and keeps them if they fail in the same way.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.fuzz.episode import Step
from tests.fuzz.request import Request

Fails = Callable[[list[Step]], bool]


def shrunk(steps: list[Step], fails: Fails, attempts: int = 150) -> list[Step]:
    """Return fewer and smaller steps that fail alike, tried at most so often."""
    left = [attempts]

    def still(tried: list[Step]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return fails(tried)

    steps = _fewer(steps, still)
    return _smaller(steps, still)


def _fewer(steps: list[Step], fails: Fails) -> list[Step]:
    """Leave out steps before the last, many at a time and then fewer."""
    before, last = steps[:-1], steps[-1]
    size = max(1, len(before))
    while before:
        start = 0
        while start < len(before):
            tried = before[:start] + before[start + size :]
            if fails([*tried, last]):
                before = tried
            else:
                start += size
        if size == 1:
            break
        size = max(1, size // 4)
    return [*before, last]


def _smaller(steps: list[Step], fails: Fails) -> list[Step]:
    last = steps[-1]
    progress = True
    while progress:
        progress = False
        for tried in _simpler(last):
            if fails([*steps[:-1], tried]):
                last, progress = tried, True
                break
    return [*steps[:-1], last]


def _simpler(step: Step) -> Iterator[Step]:
    if step.copies > 1:
        yield replace(step, copies=1)
    request = step.request
    for header in request.headers:
        kept = tuple(each for each in request.headers if each is not header)
        yield _with(step, headers=kept)
    path, _, query = request.target.partition("?")
    if query:
        yield _with(step, target=path)
        parts = query.split("&")
        for place in range(len(parts) if len(parts) <= 12 else 0):
            rest = "&".join(parts[:place] + parts[place + 1 :])
            yield _with(step, target=f"{path}?{rest}" if rest else path)
        if len(parts) > 1:
            yield _with(step, target=f"{path}?{'&'.join(parts[: len(parts) // 2])}")
            yield _with(step, target=f"{path}?{'&'.join(parts[len(parts) // 2 :])}")
    if request.body:
        yield _with(step, body=b"")
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            half = len(request.body) // 2
            yield _with(step, body=request.body[:half])
            yield _with(step, body=request.body[half:])
        else:
            for simpler in _simpler_json(body):
                text = json.dumps(simpler).encode()
                if len(text) < len(request.body):
                    yield _with(step, body=text)


def _with(step: Step, **values: Any) -> Step:
    request = step.request
    given = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body,
        "broken_off": request.broken_off,
    }
    return replace(step, request=Request(**{**given, **values}))


def _simpler_json(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in value:
            yield {name: inner for name, inner in value.items() if name != key}
        for key, inner in value.items():
            for simpler in _simpler_json(inner):
                yield {**value, key: simpler}
    elif isinstance(value, list):
        for place in range(len(value)):
            yield value[:place] + value[place + 1 :]
        for place, inner in enumerate(value):
            for simpler in _simpler_json(inner):
                yield [*value[:place], simpler, *value[place + 1 :]]
    elif isinstance(value, str) and len(value) > 1:
        yield value[: len(value) // 2]
        yield value[len(value) // 2 :]
