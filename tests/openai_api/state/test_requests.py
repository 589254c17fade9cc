"""What holds for every request: a key, an id, the form of errors."""

import http.client
import threading

import pytest
from click.testing import CliRunner

from sentiment_ray.cli import commands
from sentiment_ray.openai_api.request_quota import RequestQuota
from tests.openai_api.running import RunningService, run_service

UNKNOWN_URL = {
    "message": "Invalid URL (GET /v1/assistants)",
    "type": "invalid_request_error",
    "param": None,
    "code": "unknown_url",
}


def test_an_unknown_url_is_answered_in_the_form_of_errors(state_service: RunningService) -> None:
    answer = state_service.ask("GET", "/v1/assistants")
    assert (answer.status, answer.error) == (404, UNKNOWN_URL)


def test_an_unknown_method_is_answered_in_the_form_of_errors(state_service: RunningService) -> None:
    answer = state_service.ask("DELETE", "/health")
    assert (answer.status, answer.error["message"]) == (405, "Not allowed to DELETE on /health.")
    assert answer.headers["allow"] == "GET"


def test_health_needs_no_key(state_service: RunningService) -> None:
    answer = state_service.ask("GET", "/health", headers={"authorization": ""})
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/v1/models", "/v1/assistants", "/openapi.json", "/x"])
def test_everything_else_needs_a_key(state_service: RunningService, path: str) -> None:
    wrong = state_service.ask("GET", path, key="sk-wrong")
    assert (wrong.status, wrong.error["code"]) == (401, "invalid_api_key")
    assert "sk-wrong" not in wrong.error["message"]
    missing = state_service.ask("GET", path, headers={"authorization": ""})
    assert (missing.status, missing.error["code"]) == (401, None)


def test_a_revoked_key_is_refused_after_a_second(state_service: RunningService) -> None:
    from sentiment_ray.openai_api.authentication import CACHED_S, revoke_key

    key = state_service.make_key("revoked")
    assert state_service.ask("GET", "/v1/assistants", key=key).status == 404
    assert revoke_key(state_service.service.database, key)
    assert not revoke_key(state_service.service.database, key)
    threading.Event().wait(CACHED_S)
    assert state_service.ask("GET", "/v1/assistants", key=key).status == 401


def test_an_answer_has_the_clients_request_id_or_a_new_one(state_service: RunningService) -> None:
    assert state_service.ask("GET", "/v1/x", headers={"x-request-id": "my-id"}).headers["x-request-id"] == "my-id"
    new = state_service.ask("GET", "/v1/x", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert new.startswith("req_")


def test_a_body_above_the_limit_is_refused(state_service: RunningService) -> None:
    size = state_service.service.config.max_body_bytes + 1
    answer = state_service.ask("POST", "/v1/fine_tuning/jobs", b" " * size)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    connection = http.client.HTTPConnection("127.0.0.1", state_service.port, timeout=30)
    headers = {"authorization": f"Bearer {state_service.key}", "content-length": "9" * 19}
    connection.request("POST", "/v1/fine_tuning/jobs", headers=headers)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_project_above_its_quota_is_asked_to_wait(tmp_path_factory: pytest.TempPathFactory) -> None:
    with run_service(tmp_path_factory.mktemp("quota"), max_requests_per_minute=2) as running:
        statuses = [running.ask("GET", "/v1/x").status for _ in range(3)]
        other = running.ask("GET", "/v1/x", key=running.make_key("other"))
        refused = running.ask("GET", "/v1/x")
    assert (statuses, other.status) == ([404, 404, 429], 404)
    assert refused.error["code"] == "rate_limit_exceeded" and 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_quota_begins_anew_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    quota = RequestQuota(1)
    quota.count("a")
    now_s = 161.0
    quota.count("a")


def test_a_key_is_created_for_a_project_and_revoked(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("keys") / "state"

    def run(*words: str, given: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(commands, ["openai-api", "keys", *words, "--state", str(state)], input=given)
        return done.exit_code, done.output

    code, output = run("create", "--project", "shop")
    key = output.removesuffix("\n")
    assert code == 0 and key.startswith("sk-") and "\n" not in key
    with run_service(state) as running:
        assert running.ask("GET", "/v1/x", key=key).status == 404
        assert key.encode() not in b"".join(path.read_bytes() for path in state.glob("state.sqlite*"))
    assert run("revoke", given=f"{key}\n") == (0, "")
    with run_service(state) as running:
        assert running.ask("GET", "/v1/x", key=key).status == 401
    assert run("revoke", key)[0] == 1
