"""What happens when hosts and guests fail: runs in the controller, beside the API, above operations.

- **Deaths.** `monitor` looks at leases and seeks proofs for silent hosts: `decide` says which (pure), `fencing`
  switches power off and reads it, `replication` says whether leases prove anything, `brake` stops it all where too many
  are silent. `sightings` has other hosts look for them; `standing` says in a word how a host stands (pure). `count`
  notices a database that lost commits: by that nobody is judged.
- **Plans.** `survey` takes the `picture` that `plan` is made from, with the `wishes` for each server, in their `order`,
  as many at once as `waves` lets. `rehearse`, `survive` and `spare` ask what would be. All but `survey` is pure.
- **Recovery.** `recovery` has the servers of dead hosts evacuated by that plan, at their `turns`; `restarting` starts
  guests again that crashed; `draining` empties hosts at which somebody is to work (`leaving`: who, pure).
- **Alarms.** `alarms` follows what monitors outside say has failed (`heed`: what it comes to, pure), `ailing_servers`
  what they say of guests. `segments`: which host stands in for which; `moves`: what became of a dead host's servers.

What one controller at a time does for all it does by a post (`attending`), ever later where it fails (`again`).
"""
