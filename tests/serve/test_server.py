"""The service takes its address and its key before it loads anything, and names what is wrong with either."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment_ray import Predictor
from sentiment_ray.errors import ConfigError
from sentiment_ray.http_server.address import bind, describe_address, listen
from sentiment_ray.serve.api_key import read_api_key
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.server import serve


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


def test_a_port_that_is_taken_is_named_before_the_bundle_is_opened(taken: int) -> None:
    with pytest.raises(ConfigError, match=rf"port = {taken} on 127.0.0.1 is taken. Choose another; --port 0 takes"):
        serve(ServeConfig(bundle="nowhere", port=taken))


def test_a_port_that_is_taken_while_the_bundle_loads_is_named() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            listen(second, "127.0.0.1", port)
            with pytest.raises(ConfigError, match=f"port = {port} on 127.0.0.1 is taken"):
                listen(first, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere.invalid", "host = 'nowhere.invalid' is no known address"),
        ("192.0.2.1", "host = '192.0.2.1' is no address of this machine"),
        ("http://127.0.0.1", "is no known address"),
        ("a" * 300, "is no known address"),
        ("::2", "is no address of this machine"),
    ],
)
def test_a_host_that_cannot_be_bound_is_named(host: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bind(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_address_that_is_shown_can_be_asked(host: str) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").is_file():
        pytest.skip("this machine has no IPv6")
    with bind(host, 0) as bound:
        listen(bound, host, 0)
        shown = describe_address(bound)
        address, _, port = shown.removeprefix("http://").rpartition(":")
        assert address == {"::1": "[::1]"}.get(host, "127.0.0.1")
        socket.create_connection((address.strip("[]"), int(port)), timeout=5).close()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "needs rights that this process does not have"), (errno.ENOBUFS, "no service")]
)
def test_an_address_that_the_system_refuses_is_named(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match=f"port = 80.* {words}"):
        bind("127.0.0.1", 80)


def test_the_engine_the_variant_and_the_threads_are_those_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, object] = {}

    def note(path: str, **keys: object) -> None:
        given.update(keys)
        raise ConfigError("enough")

    monkeypatch.setattr(Predictor, "load", note)
    with pytest.raises(ConfigError, match="enough"):
        serve(
            ServeConfig(
                bundle="nowhere", port=0, engine="onnxruntime", variant="fp16", threads=3, optimize_for="latency"
            )
        )
    assert given == {
        "engine": "onnxruntime",
        "variant": "fp16",
        "threads": 3,
        "optimize_for": "latency",
        "require_signature": None,
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_an_address_for_other_machines_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="--api-key-file"):
        serve(ServeConfig(bundle="nowhere", host=host))


@pytest.mark.parametrize(
    "data",
    [
        b"sesame",
        b"sesame\n",
        b"\xef\xbb\xbfsesame\r\n",
        b"  sesame \t\r\n\r\n",
        b"sesame\nanother line\n",
        b"sesame\r",
    ],
)
def test_a_key_is_read_as_editors_save_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    assert read_api_key(str(tmp_path / "key")) == "sesame"


def test_a_key_may_have_letters_of_any_script(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sésame 芝麻\n", encoding="utf-8")
    assert read_api_key(str(tmp_path / "key")) == "sésame 芝麻"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("sesame\r\n".encode("utf-16"), "is UTF-16, as PowerShell"),
        ("sesame".encode("utf-16-le"), "is UTF-16"),
        ("sésame".encode("cp1252"), r"is not UTF-8 \(byte 1\)"),
        (b"", "has an empty first line"),
        (b"\xef\xbb\xbf", "has an empty first line"),
        (b"\r\nsesame\r\n", "has an empty first line"),
        (b"   \n", "has an empty first line"),
        ("ses\u200bame".encode(), r"invisible character in its first line \(U\+200B\)"),
        ("ses\xa0ame".encode(), r"\(U\+00A0\)"),
        (b"ses\x1bame", r"\(U\+001B\)"),
    ],
)
def test_a_file_without_a_key_is_named_and_its_content_is_not(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(ConfigError, match=words) as refused:
        read_api_key(str(tmp_path / "key"))
    assert "ame" not in str(refused.value).replace(str(tmp_path), "").replace("Name", "")


@pytest.mark.parametrize("name", ["nowhere", ".", ""])
def test_a_key_file_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"api_key_file = '{name}' cannot be read"):
        read_api_key(name)
