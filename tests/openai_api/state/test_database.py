"""The tables are those of the migrations, on both databases; a session's changes are all there or none."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from sentiment_ray.errors import ConfigError
from sentiment_ray.openai_api.database import change_status, open_database
from sentiment_ray.openai_api.ids import make_id, now_s
from sentiment_ray.openai_api.state_directory import make_state_directory
from sentiment_ray.openai_api.tables import File, Job, Project, Table


def test_the_migrations_make_the_tables_of_this_release(new_state: Path, database_url: str | None) -> None:
    database = open_database(make_state_directory(str(new_state)), database_url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []
        assert set(sa.inspect(connection).get_table_names()) == {*Table.metadata.tables, "alembic_version"}
    database.close()


def test_several_processes_may_open_a_new_database_at_once(new_state: Path, database_url: str | None) -> None:
    state = make_state_directory(str(new_state))
    failures: list[BaseException] = []

    def open_and_close() -> None:
        try:
            open_database(state, database_url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_of_a_newer_release_is_refused(new_state: Path, database_url: str | None) -> None:
    state = make_state_directory(str(new_state))
    database = open_database(state, database_url)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="was written by a newer release. Upgrade sentiment-ray."):
        open_database(state, database_url)


def test_a_file_that_is_no_database_is_refused(new_state: Path) -> None:
    state = make_state_directory(str(new_state))
    (state / "state.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=r"state.sqlite cannot be opened \(file is not a database\)."):
        open_database(state, None)


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="database: .* cannot be opened") as refused:
        open_database(tmp_path, f"postgres://me:secret@/name?host={tmp_path}")
    assert "secret" not in str(refused.value)
    for url in ("mysql://me:secret@host/name", "secret"):
        with pytest.raises(ConfigError, match="is no URL of PostgreSQL") as refused:
            open_database(tmp_path, url)
        assert "secret" not in str(refused.value)


def test_a_status_is_changed_by_one_of_several_threads(new_state: Path, database_url: str | None) -> None:
    database = open_database(make_state_directory(str(new_state)), database_url)
    job_id, project_id = make_id("ftjob-"), make_id("proj_")
    with database.session() as session:
        session.add(Project(id=project_id, name="shop", created_at=now_s()))
        session.flush()
        job = Job(
            id=job_id, project_id=project_id, created_at=now_s(), status="queued", model="m", training_file="f",
            seed=0, hyperparameters={}, details={},
        )  # fmt: skip
        session.add(job)
    changed: list[bool] = []

    def change() -> None:
        with database.session() as session:
            row = session.get(Job, job_id)
            changed.append(change_status(session, row, expected="queued", new="running"))

    threads = [threading.Thread(target=change) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 5 + [True]
    database.close()


def test_a_session_that_fails_changes_nothing(new_state: Path, database_url: str | None) -> None:
    database = open_database(make_state_directory(str(new_state)), database_url)
    with pytest.raises(KeyError), database.session() as session:
        session.add(Project(id="proj_1", name="shop", created_at=now_s()))
        session.flush()
        raise KeyError
    with database.read_session() as session:
        assert session.get(Project, "proj_1") is None
    database.close()


def test_a_reader_does_not_wait_for_a_writer(new_state: Path, database_url: str | None) -> None:
    database = open_database(make_state_directory(str(new_state)), database_url)
    with database.session() as writing:
        writing.add(Project(id="proj_1", name="shop", created_at=now_s()))
        writing.flush()
        with database.read_session() as reading:
            assert reading.get(Project, "proj_1") is None
    database.close()


def test_text_of_strangers_is_stored_whatever_it_holds(new_state: Path, database_url: str | None) -> None:
    database = open_database(make_state_directory(str(new_state)), database_url)
    with database.session() as session:
        session.add(Project(id="proj_1", name="a\0b\ud800", created_at=now_s()))
    with database.read_session() as session:
        project = session.get(Project, "proj_1")
        assert project and project.name == "a\ufffdb?"
        assert session.get(File, "file-\0") is None
    database.close()
