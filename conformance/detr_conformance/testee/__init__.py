"""Implementations in processes of their own: any interpreter, any language, and nothing that they do breaks a run.

The messages are described in `docs/testee.md`. `detr_testee` is the other end of the pipe as one file for Python.
"""
