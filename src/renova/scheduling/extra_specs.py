"""What an extra spec of a flavor asks of a value: an operator and its operands, or just the value (Nova, flavors).

`>= 2` compares numbers, `s== x` texts, `<in> x` looks for a part, `<all-in> x y` for each, `<or> x <or> y` takes any.
`= 2` means at least 2, as it always did.
"""

import operator
from collections.abc import Callable

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
    "<in>": operator.contains,
}


def satisfies(value: str, asked: str) -> bool:
    """Say whether the value is as asked. What is no number never satisfies a comparison of numbers."""
    words = asked.split()
    word, operands = (words[0], words[1:]) if words else ("", [])
    if word == "<or>":
        return value in operands[::2]  # every other word is the next <or>
    if word == "<all-in>":
        return bool(operands) and all(operand in value for operand in operands)
    if word in _TEXTS:
        return bool(operands) and _TEXTS[word](value, operands[0])
    if word in _NUMBERS:
        if not operands:
            return False
        try:
            return _NUMBERS[word](float(value), float(operands[0]))
        except ValueError:
            return False
    return value == asked
