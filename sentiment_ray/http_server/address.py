"""The address of the service: takes it, names what is wrong with it, and says which one it is."""

import errno
import ipaddress
import os
import socket

from sentiment_ray.errors import ConfigError

BACKLOG = 2048
"""How many connections wait to be accepted; uvicorn's own number."""


def bind(host: str, port: int) -> socket.socket:
    """Return a TCP socket that is bound to an address and does not listen yet; port 0 takes a free port.

    A name with several addresses is bound to its first of IPv4. ConfigError when the address cannot be taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host = {host!r} is no known address ({error}). Name one of this machine.") from None
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last owner has just gone is free
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _explain(error, host, port) from None
    return bound


def listen(bound: socket.socket, host: str, port: int) -> None:
    """Begin to listen; ConfigError when another process has taken the address since it was bound."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise _explain(error, host, port) from None


def describe_address(bound: socket.socket) -> str:
    """Return the URL of a bound socket, with the port that it really has."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    """Return what is wrong with an address that cannot be taken, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"port = {port} on {host} is taken. Choose another; --port 0 takes a free one.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"port = {port} needs rights that this process does not have. Choose one from 1024 on.")
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return ConfigError(f"host = {host!r} is no address of this machine. Choose one, such as 127.0.0.1.")
    reason = os.strerror(error.errno) if error.errno else error
    return ConfigError(f"host = {host!r}, port = {port}: no service can listen there ({reason}). Choose another.")
