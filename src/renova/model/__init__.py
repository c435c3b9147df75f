"""The nouns that every part shares: no I/O, no clock, no client; imported by all, imports nothing above itself."""
