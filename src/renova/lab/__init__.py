"""A cloud on one machine, made of real parts: hosts as namespaces, a rack that joins them, a guest image to run.

Used by the command line and by live tests, in their own process; needs root and Linux. Nothing is created in the
caller's network namespace, so clouds with different homes run side by side with the same addresses.
"""
