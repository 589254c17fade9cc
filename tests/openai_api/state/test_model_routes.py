"""A project lists, retrieves and deletes its fine-tuned models, and sees the base models."""

from pathlib import Path

import openai
import pytest
from sqlalchemy import select

from sentiment_ray.openai_api.ids import make_secret, now_s
from sentiment_ray.openai_api.tables import Job, Model
from tests.openai_api.running import MODEL, RunningService, add_job, get_project_id


def add_model(service: RunningService, client: openai.OpenAI, base: str = MODEL) -> str:
    """Add a fine-tuned model to the project of a client; return its id."""
    file = client.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune")
    model = f"ft:{base}:local:mine:{make_secret(8)}"
    project_id = get_project_id(service, file.id)
    job = add_job(service, project_id, file.id, status="succeeded", model=base, fine_tuned_model=model)
    bundle = f"jobs/{job.id}/bundle"
    with service.service.database.session() as session:
        session.add(Model(id=model, project_id=project_id, job_id=job.id, created_at=now_s(), bundle=bundle))
    directory: Path = service.service.state / bundle
    directory.mkdir(parents=True)
    (directory / "bundle.json").write_text("{}")
    return model


def test_models_are_listed_retrieved_and_deleted(state_service: RunningService, client: openai.OpenAI) -> None:
    model = add_model(state_service, client)
    with state_service.service.database.read_session() as session:
        bundle = session.scalars(select(Model.bundle).where(Model.id == model)).one()
    assert (state_service.service.state / bundle).exists()
    assert [each.id for each in client.models.list()] == [MODEL, model]
    found = client.models.retrieve(model)
    assert (found.id, found.object, found.owned_by) == (model, "model", "local")
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.delete(model).deleted
    assert [each.id for each in client.models.list()] == [MODEL]
    with pytest.raises(openai.NotFoundError, match=f"The model `{model}` does not exist or you do not have") as refused:
        client.models.retrieve(model)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    assert not (state_service.service.state / bundle).exists()


@pytest.mark.parametrize("base", [MODEL, "org/encoder"])
@pytest.mark.parametrize("written", [str, lambda model: model.replace(":", "%3A").replace("/", "%2F")])
def test_an_id_may_have_colons_and_slashes(
    base: str, written: type[str], state_service: RunningService, client: openai.OpenAI, key: str
) -> None:
    model = add_model(state_service, client, base)
    assert state_service.ask("GET", f"/v1/models/{written(model)}", key=key).json["id"] == model
    assert state_service.ask("DELETE", f"/v1/models/{written(model)}", key=key).json["deleted"]
    assert state_service.ask("GET", f"/v1/models/{written(model)}", key=key).status == 404


def test_a_base_model_is_not_deleted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="is a base model"):
        client.models.delete(MODEL)


def test_a_model_that_a_job_uses_is_not_deleted(state_service: RunningService, client: openai.OpenAI) -> None:
    model = add_model(state_service, client)
    file = client.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune")
    project_id = get_project_id(state_service, file.id)
    job = add_job(state_service, project_id, file.id, status="running", model=model)
    with pytest.raises(openai.ConflictError, match=f"is in use by {job.id}"):
        client.models.delete(model)
    with state_service.service.database.session() as session:
        session.get(Job, job.id).status = "cancelled"  # type: ignore[union-attr]
    assert client.models.delete(model).deleted


def test_a_project_sees_no_model_of_another(state_service: RunningService, client: openai.OpenAI) -> None:
    model = add_model(state_service, client)
    other = state_service.make_client(state_service.make_key("another project"))
    assert model not in [each.id for each in other.models.list()]
    for call in (other.models.retrieve, other.models.delete):
        with pytest.raises(openai.NotFoundError):
            call(model)
    assert client.models.retrieve(model).id == model
