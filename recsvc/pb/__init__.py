"""The contract as Python sees it; only rpc/ and client.py import it.

This file and `*_pb2*` are generated from protos/recsvc/v1 by .ci/generate: do not edit them.
"""
