"""The processes in which others judge and are judged: started, limited, watched, and ended with all that they start."""
