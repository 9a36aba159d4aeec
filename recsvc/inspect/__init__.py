"""What a person looks at from outside: traces, and live metrics of a running server."""
