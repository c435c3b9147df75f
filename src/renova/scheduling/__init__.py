"""Which host: pure arithmetic on frozen views; called by operations, in the controller. Asks nobody, changes nothing.

`rules` say why a host will not do, one small function each; `choose` ranks those that will.
"""
