"""Vectors: one case each as a portable JSON file, with its expected values, that any language can replay."""
