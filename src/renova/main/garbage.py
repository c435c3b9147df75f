"""When Python looks for garbage in cycles: seldom, and not among what stays. Called by the controller's process.

What is counted by references goes at once, as ever; this is about the rest, of which there is little.
"""

import gc


def look_seldom() -> None:
    """Have what is loaded now never looked through again, and what comes later only after much has been made.

    Looking was a third of what a list of 1,000 servers cost, and 50 ms at a time with 5,000 providers in memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
