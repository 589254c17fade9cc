"""A bundle behind HTTP. Its keys need nothing; the service itself needs the extra `serve`."""
