"""Renova: an OpenStack-compatible compute service that keeps servers alive."""
