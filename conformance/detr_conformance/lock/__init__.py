"""The regression lock: what an implementation computes on the set of vectors, bit by bit, held against what it did."""
