"""The lmscore server: language models behind gRPC."""
