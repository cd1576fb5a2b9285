"""Entry points for users: the commands of `detr-spec`, and the tests for pytest."""
