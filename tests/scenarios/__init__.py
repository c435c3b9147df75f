"""Stories of hosts that die, or seem to: a folder each, told on a simulated cloud by `telling`.

A folder has the story in a few sentences (`story.md`), what happens when (`timeline.toml`, see `timeline`), and the
exact log of what changed then (`expected.log`, see `log`). All invariants of the simulation hold meanwhile.

    python -m tests.scenarios NAME...           tell these, or all, and print what is not as expected
    python -m tests.scenarios --renew NAME...   take what changed for what is expected: read the difference then
    python -m tests.scenarios --whole NAME      tell one with all that its parts logged
"""
