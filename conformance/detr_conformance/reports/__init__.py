"""Reports for machines and for people: JSON and its reader, JUnit XML, Markdown, and one HTML page."""
