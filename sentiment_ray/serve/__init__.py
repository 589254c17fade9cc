"""Serves a bundle over HTTP. `config` needs no extra; the service needs the extra `serve`."""
