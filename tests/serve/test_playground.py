"""The playground in a real Chromium: what a person types, opens and sees, on a desk and on a phone."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import launch_chromium
from tests.serve.running import GOLDEN, Running, copy_bundle, run

PRAISE = "The tea was wonderful and the staff could not have been kinder. I will be back."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_chromium() as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a key and a second bundle that turns the labels round."""
    directory = tmp_path_factory.mktemp("playground")
    copy_bundle(directory / "turned", labels=("positive", "neutral", "negative"))
    (directory / "key").write_text("sesame")
    flags = ("--api-key-file", str(directory / "key"), "--shadow", str(directory / "turned"), "--shadow-share", "0")
    with run(GOLDEN, *flags, headers={"authorization": "Bearer sesame"}) as running:
        yield running


@pytest.fixture
def page(browser: Browser, service: Running, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The playground with its key given; nothing may be asked of another site, and nothing may fail in it."""
    context = browser.new_context(**getattr(request, "param", {}))
    opened = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    opened.on("request", lambda each: asked.append(each.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "401" not in message.text else None)
    address = f"http://127.0.0.1:{service.port}/"
    opened.goto(address)
    opened.get_by_label("API key").fill("sesame")
    opened.get_by_role("button", name="Use this key").click()
    expect(opened.locator("#bundle")).not_to_be_empty()
    yield opened
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert faults == []


def classify(page: Page, text: str) -> None:
    page.get_by_label("A review", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".words")).to_have_count(2)


def test_a_review_gets_the_label_of_the_service_its_words_and_both_bundles(page: Page, service: Running) -> None:
    ranking = service.ask("POST", "/predict", {"inputs": PRAISE}).json
    classify(page, PRAISE)
    first, second = page.locator(".result").all()
    expect(first.locator(".verdict")).to_contain_text(f"{ranking[0]['label']}{100 * ranking[0]['score']:.1f} %")
    for item in ranking:
        expect(first.locator(".bars")).to_contain_text(f"{item['label']}{100 * item['score']:.1f} %")
    assert first.locator(".words").inner_text() == PRAISE
    assert first.locator("mark.strong").count() >= 1, "a word decided most"
    expect(first.locator(".numbers")).to_contain_text("ms round trip")
    turned = {"positive": "negative", "negative": "positive", "neutral": "neutral"}[ranking[0]["label"]]
    expect(second.locator(".verdict strong")).to_have_text(turned)


def test_what_a_person_types_is_shown_as_text(page: Page) -> None:
    hostile = '<img src=x onerror="document.title=1"> <b>bold</b> </script><script>document.title=2</script>'
    classify(page, hostile)
    assert page.locator(".result .words").first.inner_text() == hostile
    assert page.locator(".result img, .result b b").count() == 0
    assert page.title() == "sentiment-ray playground"


def test_typing_is_enough_and_an_emptied_field_clears_the_result(page: Page) -> None:
    field = page.get_by_label("A review", exact=True)
    field.press_sequentially("good")
    expect(page.locator(".result").first).to_be_visible()
    field.fill("")
    expect(page.locator(".result")).to_have_count(0)


def test_a_wrong_key_is_said_and_the_right_one_is_kept_nowhere(page: Page, service: Running) -> None:
    assert page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    assert page.context.cookies() == []
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The service did not accept this key.")


def test_a_csv_file_goes_in_and_a_table_comes_out(page: Page, service: Running, tmp_path: Path) -> None:
    texts = ["a good shop", 'two\nlines, and "quotes"', "=1+1 is a bad hotel", "naïve café ☕"]
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([["id", "review", "stars"], *([str(index), text, "5"] for index, text in enumerate(texts))])
    page.get_by_role("tab", name="Many reviews").click()
    page.locator("#file").set_input_files(tmp_path / "reviews.csv")
    expect(page.locator("#column")).to_have_value("1")
    expect(page.locator("#count")).to_have_text("4 reviews")
    page.get_by_role("button", name="Classify all").click()
    rows = page.locator("#table-body tr")
    expect(rows).to_have_count(4)
    expected = [answer[0]["label"] for answer in service.ask("POST", "/predict", {"inputs": texts}).json]
    assert [row.locator("td.label").first.inner_text() for row in rows.all()] == expected
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    table = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    assert [row["text"] for row in table] == [texts[0], texts[1], f"'{texts[2]}", texts[3]], "no cell is a formula"
    assert [row["label"] for row in table] == expected
    assert {"second_label", "negative", "neutral", "positive"} <= table[0].keys()


def test_more_lines_than_a_request_may_hold_are_sent_in_parts(page: Page) -> None:
    page.get_by_role("tab", name="Many reviews").click()
    page.get_by_label("Reviews, one in each line").fill("\n".join(f"shop {index}" for index in range(700)))
    page.keyboard.press("Control+Enter")
    expect(page.locator("#table-note")).to_contain_text("700 reviews", timeout=30_000)
    expect(page.locator("#table-body tr")).to_have_count(500)


def test_the_tabs_follow_the_arrow_keys(page: Page) -> None:
    one, many = page.get_by_role("tab", name="One review"), page.get_by_role("tab", name="Many reviews")
    one.focus()
    page.keyboard.press("ArrowRight")
    expect(many).to_be_focused()
    expect(many).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("A review", exact=True)).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(one).to_be_focused()


PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": "dark"}


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_on_a_phone_at_night_nothing_is_cut_off_and_nothing_glares(page: Page) -> None:
    classify(page, PRAISE * 5 + " " + "long" * 60)
    for tab in ("Many reviews", "One review"):
        page.get_by_role("tab", name=tab).tap()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert red + green + blue < 150


def test_only_browsers_get_the_page_and_it_may_load_nothing_else(service: Running) -> None:
    page = service.ask("GET", "/", headers={"accept": "text/html,*/*", "authorization": ""})
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert page.body.replace(b"http://www.w3.org/2000/svg", b"").count(b"http") == 0
    assert service.ask("GET", "/", headers={"accept": "*/*"}).body == b"", "the health of the service"


def test_the_second_bundle_counts_and_refuses_texts_as_the_first(service: Running) -> None:
    for body, status in (({"inputs": ["tea", "milk"]}, 200), ({"inputs": []}, 400), ({"inputs": 5}, 422)):
        for path in ("/predict", "/shadow/predict"):
            assert service.ask("POST", path, body).status == status
    assert service.ask("POST", "/shadow/predict", {"inputs": ["a"] * 1001}).status == 422
    assert service.ask("POST", "/shadow/predict", {"inputs": "tea"}, {"authorization": ""}).status == 401
