"""Adoption: probes an object, and writes into its project what makes it a subject of `detr-spec check`."""
