"""The mutant bank: implementations with one planted defect each, and what finds them.

A mutant is a patch over the source of the reference, as data, so that the bank is a list of defects that a person can
read. `bank` reads it, `patch` turns a mutant into an implementation, `hunt` looks for an example that kills it,
`matrix` tells what all hunts together say.
"""
