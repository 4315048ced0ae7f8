"""One optimizer step: candidates in, kept examples in micro-batches out."""
