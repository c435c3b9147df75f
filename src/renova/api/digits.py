"""Whole numbers that clients write in digits: in headers, in queries, in texts of bodies."""

ENDLESS = 10**18  # what is as large, or larger; it fits into the database


def whole(text: str) -> int | None:
    """Return the number, `ENDLESS` at most; None for a text that is no whole number from 0 on.

    Python reads no more than 4,300 digits at once (`sys.get_int_max_str_digits`), and a header has room for more.
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) < len(str(ENDLESS)) else ENDLESS
