"""What the cloud does, one verb a file: runs in the controller; called by the API and the monitor.

Each file has `accept_<verb>`, which checks everything and writes the request down in the caller's transaction, then
the story of the verb, then its steps in the order they happen. `parts` has the steps that several stories share.
"""
