"""HTTP in, HTTP out: runs in the controller, called by clients; calls operations, partners and store.

One package a service, each with its routes and the shapes of its requests and answers. `http` says what a request
and an answer are, `dispatch` finds the handler and turns errors into the service's answers, `app` joins the
services behind one port.
"""
