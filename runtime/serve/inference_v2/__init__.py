"""The Open Inference Protocol, version 2, below /v2: existing clients work with it."""
