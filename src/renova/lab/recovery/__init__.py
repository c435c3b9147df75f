"""Hosts of a lab cloud die, or their controllers do: what becomes of real guests, measured.

`script/campaign recovery` runs it again and again; the live tests once. Nobody gives a command that brings a server
back: whoever does is the cloud.
"""
