"""The gRPC face: messages to requests, answers to messages, errors to status codes."""
