"""Side by side with what people write today, and with the bare libraries: ``python -m benchmarks``."""
