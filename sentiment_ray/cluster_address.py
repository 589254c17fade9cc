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
from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
    maybe_enable_token_auth_if_token_available,
)
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray.exceptions import AuthenticationError

from sentiment_ray.errors import ConfigError

VARIABLE = "RAY_ADDRESS"
LOCAL = "local"
LISTEN_S = 5.0
"""How long a cluster may take to listen, as one that has just been started."""
ANSWER_S = 20.0
SUBMIT = "Submit the job to the cluster (ray job submit --working-dir . -- python -m jobs…)"
START_ONE = f"set {VARIABLE}=local to start a cluster on this machine for this job"


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
    reason = find_obstacle(given, LISTEN_S)
    if reason:
        raise ConfigError(
            f"{named}: no Ray cluster answers there ({reason}). Start the cluster, correct the address, or {START_ONE}."
        )
    _check_answer(_ask_cluster(given), named)
    return given


def is_started_here() -> bool:
    """Whether a job that is not connected yet will start a cluster of its own, as far as RAY_ADDRESS says."""
    return os.environ.get(VARIABLE, "").strip() in ("", LOCAL)


def _find_cluster_of_this_machine(given: str) -> str | None:
    """Return the address of the cluster that `ray start` began here; with RAY_ADDRESS = auto there must be one.

    Ray's own `auto` would also join the cluster that another job has started for itself, and end with that job.
    """
    noted: str | None = services.find_bootstrap_address(None)
    addresses: list[str | None] = [noted, *sorted(services.find_gcs_addresses())] if given else [noted]
    for address in addresses:
        if not address or find_obstacle(address, 0):
            continue
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does when it finds a cluster
        answer = _ask_cluster(address)
        if address == noted and isinstance(answer, Exception):
            raise ConfigError(f"the Ray cluster of this machine ({address}): {describe_refusal(answer)}")
        if isinstance(answer, dict) and not answer.get("ray_init_cluster"):
            _check_answer(answer, f"the Ray cluster of this machine ({address})")
            return str(address)
    if not given:
        return None
    left_over = f" (the one at {noted} that `ray start` noted is gone)" if noted else ""
    raise ConfigError(
        f"{VARIABLE} = {given!r}, but no Ray cluster runs on this machine{left_over}. Start one with "
        f"`ray start --head`, or {START_ONE}."
    )


def _refuse_unless_host_and_port(given: str, named: str) -> None:
    if given.startswith("ray://"):
        raise ConfigError(f"{named} is the address of a Ray Client, through which these jobs cannot run. {SUBMIT}.")
    host, _, port = given.rpartition(":")
    if "://" in given or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(
            f"{named} is not the address of a cluster. Write HOST:PORT of its head node (the port is 6379 by default), "
            f"or {START_ONE}. For `ray job submit`, give the dashboard with --address."
        )


def find_obstacle(address: str, seconds: float) -> str:
    """Return why no connection to HOST:PORT succeeds within some seconds, or an empty string when one does."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=max(seconds, 2.0)):
                return ""
        except socket.gaierror as error:
            return f"the host is unknown: {error.strerror}"
        except UnicodeError:
            return "no host can have this name"
        except OSError as error:
            if time.monotonic() >= end:
                return error.strerror or str(error)
            time.sleep(1)


def _check_answer(answer: dict[str, Any] | Exception | None, named: str) -> None:
    """Raise ConfigError unless a cluster that this process can join has answered where somebody listens."""
    if answer is None:
        raise ConfigError(
            f"{named}: something listens there, but no Ray cluster answered within {ANSWER_S:g} s. Write HOST:PORT of "
            f"the head node, not of its dashboard or of its Ray Client, or {START_ONE}."
        )
    if isinstance(answer, Exception):
        raise ConfigError(f"{named}: {describe_refusal(answer)}")
    for name, here, there in _compare_versions(answer):
        if there != here:
            raise ConfigError(
                f"{named}: the cluster has {name} {there}, and this job has {name} {here}. Run the job with the "
                f"versions of the cluster, for example with `ray job submit`, or {START_ONE}."
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
    return f"this job cannot join what answers there ({message}). Correct the address, or {START_ONE}."


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
            ensure_token_if_auth_enabled(create_token_if_missing=False)  # without a token the client ends the process
            client = ray._raylet.GcsClient(address=address)
            metadata = client.internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER)
            answers.append(json.loads(metadata) if metadata else {})
        except Exception as error:  # whatever Ray raises is an answer
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return answers[0] if answers else None
