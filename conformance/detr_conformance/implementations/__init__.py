"""The implementations that come with this package, and how others are found by name."""
