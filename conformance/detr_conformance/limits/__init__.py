"""Detection limits: the smallest error in one term of a right answer that an invariant finds."""
