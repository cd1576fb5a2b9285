"""The reference built to whatever a profile declares: a right implementation of any profile, for the suite to judge."""
