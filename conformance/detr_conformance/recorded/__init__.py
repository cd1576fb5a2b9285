"""Answers that a program anywhere wrote into a file, to questions that were asked of it in a file."""
