"""Renova's own API, for what Nova has none: how new hosts join, and why a host stands where it does."""
