"""Finds the Ray cluster that a job joins and asks whether it answers, because Ray itself waits for many minutes."""

import json
import os
import platform
import socket
import threading
import time
from typing import Any

import ray
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private import services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError

from sentiment_ray.errors import ConfigError

VARIABLE = "RAY_ADDRESS"
LOCAL = "local"
LISTEN_S = 10.0
"""How long a cluster may take to listen, as one that has just been started."""
ANSWER_S = 20.0
SUBMIT = "Submit the job to the cluster (ray job submit --working-dir . -- python -m jobs…)"
UNSET = f"unset {VARIABLE} to start a cluster on this machine for this job"


def find_cluster() -> str | None:
    """Return HOST:PORT of the cluster to join, or None to start one on this machine.

    RAY_ADDRESS names the cluster; without it, a cluster that `ray start` began on this machine is joined. ConfigError
    when no cluster answers at the address, or one of another release of Ray or Python does.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given == LOCAL:
        return None
    if given in ("", "auto"):
        return _find_cluster_of_this_machine(given)
    named = f"{VARIABLE} = {given!r}"
    _refuse_unless_host_and_port(given, named)
    reason = _listen_for(given, LISTEN_S)
    if reason:
        raise ConfigError(
            f"{named}: no Ray cluster answers there ({reason}). Start the cluster, correct the address, or {UNSET}."
        )
    _check_cluster(given, named)
    return given


def is_started_here() -> bool:
    """Whether a job that is not connected yet will start a cluster of its own, as far as RAY_ADDRESS says."""
    return os.environ.get(VARIABLE, "").strip() in ("", LOCAL)


def _find_cluster_of_this_machine(given: str) -> str | None:
    """Return the address that `ray start` left on this machine, if the cluster still answers."""
    try:
        address: str | None = services.canonicalize_bootstrap_address(given or None)
        reason = "the file of its address is left over" if address and _listen_for(address, 0) else ""
    except ConnectionError:
        address, reason = None, "there is no trace of one"
    if address and not reason:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does when it joins this cluster
        _check_cluster(address, f"the Ray cluster of this machine ({address})")
        return address
    if not given:
        return None
    raise ConfigError(
        f"{VARIABLE} = {given!r}, but no Ray cluster runs on this machine ({reason}). Start one with "
        f"`ray start --head`, or {UNSET}."
    )


def _refuse_unless_host_and_port(given: str, named: str) -> None:
    if given.startswith("ray://"):
        raise ConfigError(f"{named} is the address of a Ray Client, through which these jobs cannot run. {SUBMIT}.")
    host, _, port = given.rpartition(":")
    if "://" in given or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(
            f"{named} is no address of a cluster. Write HOST:PORT of its head node (the port is 6379 by default), "
            f"or {UNSET}. For `ray job submit`, give the dashboard with --address."
        )


def _listen_for(address: str, seconds: float) -> str:
    """Return why nobody listens at HOST:PORT, or an empty string when somebody does within some seconds."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=max(seconds, 2.0)):
                return ""
        except socket.gaierror as error:
            return f"the host is unknown: {error.strerror}"
        except OSError as error:
            if time.monotonic() >= end:
                return error.strerror or str(error)
            time.sleep(1)


def _check_cluster(address: str, named: str) -> None:
    """Raise ConfigError unless a cluster that this process can join answers where somebody listens."""
    answer = _ask_cluster(address)
    if answer is None:
        raise ConfigError(
            f"{named}: something listens there, but no Ray cluster answered within {ANSWER_S:g} s. Write HOST:PORT of "
            f"the head node, not of its dashboard or of its Ray Client, or {UNSET}."
        )
    if isinstance(answer, Exception):
        raise ConfigError(f"{named}: {describe_refusal(answer)}")
    for name, here, there in _compare_versions(answer):
        if there != here:
            raise ConfigError(
                f"{named}: the cluster has {name} {there}, and this job has {name} {here}. Run the job with the "
                f"versions of the cluster, for example with `ray job submit`, or {UNSET}."
            )
    if not services.find_node_ids():
        raise ConfigError(f"{named}: this machine is no node of that cluster. {SUBMIT}, or run it on one of its nodes.")


def describe_refusal(error: Exception) -> str:
    """Return in one line why a cluster did not let this job join, and what to do."""
    message = str(error).strip().partition("\n")[0]
    if "nauthenticated" in message or "UNAUTHENTICATED" in message or isinstance(error, AuthenticationError):
        return (
            "the cluster wants a token, and this job has none or another one. Set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH to the file with the cluster's token."
        )
    return f"the cluster does not let this job join ({message}). Look at the logs of the cluster, or {UNSET}."


def _compare_versions(cluster: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the versions of Ray and Python here and there, of which Ray demands that they are equal."""
    python_here, python_there = platform.python_version(), str(cluster.get("python_version", ""))
    if os.environ.get("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL") == "minor":
        python_here, python_there = (version.rpartition(".")[0] for version in (python_here, python_there))
    return [
        ("Ray", ray.__version__, str(cluster.get("ray_version", ray.__version__))),
        ("Python", python_here, python_there or python_here),
    ]


def _ask_cluster(address: str) -> dict[str, Any] | Exception | None:
    """Return what a cluster says of its versions, the error that it answers with, or None without an answer in time.

    Ray asks for 40 s and takes no shorter limit, so it asks in a thread, which may be left behind.
    """
    answers: list[dict[str, Any] | Exception] = []

    def ask() -> None:
        try:
            client = GcsClient(address=address)
            metadata = client.internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER)
            answers.append(json.loads(metadata) if metadata else {})
        except Exception as error:  # whatever Ray raises is an answer
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return answers[0] if answers else None
