"""Values as plain data and back, by their types: in files, in messages to testees, in reports."""
