"""Hunts the mutants of the bank with the invariants."""
