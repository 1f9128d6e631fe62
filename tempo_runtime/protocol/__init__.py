"""The V2 protocol: tensors, signatures, codecs and messages. No I/O."""
