"""What a controller looks over now and then, and mends: where database, hosts and partners have drifted apart.

One file a duty. None of them fights an operation: what is being worked on is left alone, and that is looked at in the
very transaction that writes. What goes wrong with one server or host keeps a duty from no other. While the cluster is
on hold nothing is mended (`mending`). Run by `rounds`, at intervals or when somebody asks (`api.hosts.duties`).
"""
