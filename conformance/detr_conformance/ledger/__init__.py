"""Ledgers: what an implementation is expected to violate, each with the case that shows it, replayed first."""
