"""What everything else stands on: files, streams, text, errors, verdicts."""
