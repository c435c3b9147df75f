"""Filters by text, as clients of Nova write them: regular expressions, of which the safe part is understood.

`^` and `$` at the ends, `.`, `.*` and `\\` before a sign; anything else stands for itself. Nothing here can be made
to take long: each piece between two `.*` is looked for once, from the left.
"""

import re
from collections.abc import Callable

from renova.model.errors import Invalid

MOST = 255

Fits = Callable[[str], bool]


def text_filter(pattern: str) -> Fits:
    """Return a test whether the pattern is found in a text, whatever its case. `Invalid` when it is too long."""
    if len(pattern) > MOST:
        raise Invalid(f"A filter may have {MOST} characters at most.")
    anchored, pattern = pattern.startswith("^"), pattern.removeprefix("^")
    ended = pattern.endswith("$") and not pattern.endswith("\\$")
    pieces = _pieces(pattern.removesuffix("$") if ended else pattern)
    first, *others = pieces

    def fits(text: str) -> bool:
        if not others and ended:
            whole = first.fullmatch if anchored else _at_end(first)
            return whole(text) is not None
        found = first.match(text) if anchored else first.search(text)
        for piece in others[:-1] if ended else others:
            found = piece.search(text, found.end()) if found else None
        if found and others and ended:
            return _at_end(others[-1])(text, found.end()) is not None
        return found is not None

    return fits


def _pieces(pattern: str) -> list[re.Pattern[str]]:
    """Return what stands between two `.*`; no piece has a quantifier, so each is found in one go."""
    pieces = [""]
    signs = iter(range(len(pattern)))
    for place in signs:
        sign = pattern[place]
        if sign == "\\" and place + 1 < len(pattern):
            pieces[-1] += re.escape(pattern[next(signs)])
        elif sign == "." and pattern[place + 1 : place + 2] == "*":
            next(signs)
            pieces.append("")
        else:
            pieces[-1] += "." if sign == "." else re.escape(sign)
    return [re.compile(piece, re.IGNORECASE | re.DOTALL) for piece in pieces]


def _at_end(piece: re.Pattern[str]) -> Callable[..., re.Match[str] | None]:
    return re.compile(f"(?:{piece.pattern})\\Z", piece.flags).search
