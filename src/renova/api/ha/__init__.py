"""The Instance HA API v1 (Masakari's), at /instance-ha/v1: failover segments and their hosts, notifications, vmoves."""
