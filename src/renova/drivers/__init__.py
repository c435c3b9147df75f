"""How a host runs guests and connects them: a Protocol each, with a real and a simulated implementation.

Runs in the agent; `main`, `lab` and `simulation` choose which. Drivers know no database and no controller.
"""
