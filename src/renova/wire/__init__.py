"""The messages between controller and host, and their encoding. Both ends import this; neither owns it.

A host has two processes, and each holds one TLS WebSocket to each controller, with the host's client certificate, at
`frames.PATH`; which of them speaks follows from its first message. Any connection of the agent carries commands; one
is home, and carries reports of guests (`agent.home`). The guard has a home of its own, over which it renews the host's
lease (`guard.home`). Every frame is one message, msgpack-encoded, tagged by its kind; unknown kinds and malformed
frames end the connection. New fields have defaults, so that neighbours of different releases understand each other.

    guard → controller    GuardHello, Renew
    controller → guard    GuardWelcome, Renewed, Fenced, Peers, Controllers
    agent → controller    Hello, Answer, Report, Cleaned, NotCleaned, WantImage, ImageBytes
    controller → agent    Welcome, Fenced, Standing, Command, StorageCommand, Read, Tidy, Clean, Peers,
                          Controllers, Reported, ImagePiece, ImageTaken

A host speaks only for itself: whose message it is follows from the certificate of the connection, never from its text.
"""
