"""Bad input at scale: requests made from the routes' own tables and shapes, spoilt, and judged by what always holds.

`script/fuzz` runs it. An episode is a whole simulated cloud in one process and some hundred requests to it; everything
follows from the seed, so that every case can be replayed, and is printed as small as it can be made.
"""
