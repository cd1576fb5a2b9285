"""How all of it is begun: the commands of `detr-spec`, and the tests of pytest."""
