"""What is seen from outside: counters of what went wrong, and log lines that do not flood."""
