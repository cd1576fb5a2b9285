"""The benchmark: contestants that agree, timed side by side. What is installed takes part, what is not is named."""
