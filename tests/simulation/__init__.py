"""The simulation itself: it repeats, it covers, and it finds what is planted."""
