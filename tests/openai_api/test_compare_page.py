"""The page at `/` in a real Chromium: a person gives a key, writes a text, and sees what two models answer."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import launch_chromium
from tests.openai_api.running import MODEL, RunningService, run_service
from tests.openai_api.tuned_model import add_tuned_model, place_base_model

TUNED = "ft:gpt-3.5-turbo:local:pies:pagepage"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_chromium() as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose base model is the golden bundle and whose tuned model is the same with other labels."""
    with run_service(tmp_path_factory.mktemp("page") / "state", models={MODEL: "encoder"}) as running:
        place_base_model(running, labels=("Negative", "Neutral", "Positive"))
        add_tuned_model(running, TUNED, labels=("Positive", "Negative", "Neutral"))
        yield running


@pytest.fixture
def page(browser: Browser, service: RunningService) -> Iterator[Page]:
    """The page with its key given; nothing may be asked of another site, and nothing may fail in it."""
    opened = browser.new_page()
    asked: list[str] = []
    faults: list[str] = []
    opened.on("request", lambda each: asked.append(each.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "401" not in message.text else None)
    address = f"http://127.0.0.1:{service.port}/"
    opened.goto(address)
    opened.get_by_label("API key").fill("wrong")
    opened.get_by_role("button", name="Use this key").click()
    expect(opened.locator("#notice")).to_have_text("The service did not accept this key.")
    opened.get_by_label("API key").fill(service.key)
    opened.get_by_role("button", name="Use this key").click()
    expect(opened.locator("#bundle")).to_have_text("2 models")
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert faults == []


def test_base_and_tuned_answer_side_by_side(page: Page, service: RunningService) -> None:
    expect(page.locator("#first")).to_have_value(MODEL)
    expect(page.locator("#second")).to_have_value(TUNED)
    text = "The tea was wonderful and the staff could not have been kinder. <b>I</b> will be back."
    page.get_by_label("A message").fill(text)
    page.keyboard.press("Control+Enter")
    first, second = page.locator(".result").first, page.locator(".result").nth(1)
    expect(first.locator("h2")).to_have_text(MODEL)
    with service.make_client() as client:
        for card, model in ((first, MODEL), (second, TUNED)):
            messages = [{"role": "user", "content": text}]
            answer = client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
            expect(card.locator(".verdict")).to_contain_text(str(answer.choices[0].message.content))
            expect(card.locator(".bars .name")).to_have_count(3)
    expect(second.locator("h2")).to_contain_text("another label")


def test_a_person_is_told_what_a_slow_answer_waits_for(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/chat/completions", lambda route: held.append(route))
    page.get_by_label("A message").fill("tea")
    page.get_by_role("button", name="Ask both").click()
    expect(page.locator("#notice")).to_contain_text("Waiting for the models")
    for route in held:
        route.continue_()
    expect(page.locator(".result")).to_have_count(2)
    expect(page.locator("#notice")).to_be_hidden()


def test_the_page_needs_no_key_and_allows_no_foreign_script(service: RunningService) -> None:
    answer = service.ask("GET", "/", headers={"authorization": ""})
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
