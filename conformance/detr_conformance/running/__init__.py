"""Runs a whole request: which invariants on which implementations, in which processes."""
