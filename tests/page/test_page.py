"""The page at `/` of a real `tempo-runtime serve`, in a real Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.page.conftest import Opened, Site
from tests.page.pipelines import MARKUP

Open = Callable[..., Opened]


def run(page: Any) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def answer(page: Any) -> Any:
    """The part of the page that shows the answer."""
    return page.get_by_role("region", name="Answer", exact=True)


def wait_for_status(page: Any, words: str) -> None:
    answer(page).get_by_role("status").filter(has_text=words).wait_for()


def show_json(page: Any) -> str:
    """The answer, as JSON."""
    answer(page).get_by_role("tab", name="JSON").click()
    text: str = answer(page).get_by_label("Answer as JSON", exact=True).inner_text()
    return text


def sent(page: Any) -> str:
    """Run, and return the body that is sent."""
    with page.expect_request("**/predict_stream") as request:
        run(page)
    body: str = request.value.post_data
    return body


def state(**changes: Any) -> dict[str, Any]:
    node = {
        "name": "shop",
        "kind": "pipeline",
        "description": "",
        "version": None,
        "ready": True,
        "problem": None,
        "breakers": {},
        "calls": {"running": 0, "outcomes": {"ok": 7}, "seconds": None},
        "children": [],
    }
    return {"version": "9.9.9", "problem": None, "models": [], "pipelines": [{**node, **changes}]}


# -- what is shown -----------------------------------------------------------------------------------


def test_it_lists_the_pipelines_and_shows_the_chosen_one(open_page: Open) -> None:
    page = open_page("shop").page
    links = page.get_by_role("navigation").get_by_role("link")
    assert {"order", "shop", "rules"} <= {text.split()[0] for text in links.all_inner_texts()}
    assert page.get_by_role("heading", level=1).inner_text() == "shop"
    page.get_by_role("navigation").get_by_role("link", name="order").click()
    page.get_by_role("heading", level=1, name="order").wait_for()
    assert page.title() == "order · tempo_runtime"


def test_the_reference_has_routes_types_defaults_and_texts(open_page: Open) -> None:
    api = open_page("order").page.get_by_role("region", name="API", exact=True)
    text = api.inner_text()
    assert "POST /v2/models/order/predict" in text
    rows = api.get_by_role("region", name="Arguments").get_by_role("row").all_inner_texts()
    assert [re.split(r"\s*\t\s*", row.strip()) for row in rows[1:4]] == [
        ["lines", "list of Line", "required", "What is ordered."],
        ["to", "Address", "required", "Where it goes."],
        ["size", "choice", '"small"'],
    ]


def test_markup_in_descriptions_and_answers_stays_text(open_page: Open) -> None:
    page = open_page("markup").page
    page.get_by_text(f"Says {MARKUP}").wait_for()
    page.get_by_text("Such as <b>bold</b>.").first.wait_for()
    run(page)
    answer(page).get_by_role("table").get_by_text(MARKUP).first.wait_for()
    for name in answer(page).get_by_role("tab").all_inner_texts():
        answer(page).get_by_role("tab", name=name).click()
    assert page.locator("img, main b").count() == 0
    assert page.evaluate("window.hacked") is None


def test_it_asks_no_other_host(open_page: Open, site: Site) -> None:
    opened = open_page("order")
    run(opened.page)
    wait_for_status(opened.page, "Answered 200")
    assert site.url == f"http://{opened.hosts.pop()}/"
    assert opened.hosts == set()


# -- live state --------------------------------------------------------------------------------------


def test_a_call_is_counted_in_the_graph(open_page: Open) -> None:
    page = open_page("table").page
    box = page.get_by_role("list", name="table and the models it calls")
    box.get_by_text("●ready").wait_for()
    page.get_by_role("textbox", name="people, name of column 1").fill("age")
    page.get_by_role("textbox", name="people, row 1, age").fill("39")
    run(page)
    wait_for_status(page, "Answered 200")
    box.get_by_text(re.compile("median")).wait_for()
    assert re.search(r"[1-9]\d*\s+calls|calls\s+[1-9]", box.inner_text())


def test_the_graph_has_the_children_with_their_way(open_page: Open) -> None:
    graph = open_page("shop").page.get_by_role("list", name="shop and the models it calls")
    child = graph.get_by_role("listitem").get_by_role("listitem").filter(has_text="sums")
    child.get_by_text("pipeline · ").wait_for()


def test_states_have_words_and_signs_and_not_only_colours(open_page: Open) -> None:
    page = open_page("shop").page
    child = {
        **state()["pipelines"][0],
        "name": "sums",
        "alias": "adder",
        "way": "http://sums:8080",
        "ready": False,
        "problem": "http://sums:8080 refuses connections",
        "breakers": {"http://sums:8080": "open"},
        "calls": {"running": 2, "outcomes": {"ok": 5, "ModelTimeout": 3}, "seconds": None},
    }
    content = state(children=[child])
    page.route("**/pipelines.json", lambda route: route.fulfill(json=content))
    graph = page.get_by_role("list", name="shop and the models it calls")
    box = graph.get_by_role("listitem").get_by_role("listitem").filter(has_text="called as adder")
    box.first.wait_for()
    text = box.first.inner_text()
    for words in ("▲not ready", "refuses connections", "■breaker open", "ModelTimeout 3 times"):
        assert words in text.replace("\n", "")


def test_it_says_when_the_server_is_away_and_when_it_is_back(open_page: Open) -> None:
    page = open_page("order").page
    page.get_by_text("● live").wait_for()
    page.route("**/*.json", lambda route: route.abort())
    page.get_by_text("▲ the server is away").wait_for()
    page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    page.unroute("**/*.json")
    page.get_by_text("● live").wait_for()
    assert page.get_by_text("The server does not answer.").count() == 0


def test_it_shows_the_error_of_the_last_change(open_page: Open) -> None:
    page = open_page("shop").page
    content = {**state(), "problem": "SyntaxError: invalid syntax (shop.py, line 3)"}
    page.route("**/pipelines.json", lambda route: route.fulfill(json=content))
    page.get_by_role("alert").get_by_text("shop.py, line 3").wait_for()


def test_a_hidden_page_asks_nothing(open_page: Open, site: Site) -> None:
    page = open_page("order").page
    page.clock.install()
    page.goto(f"{site.url}?again#order")
    page.get_by_text("● live").wait_for()
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", {value: true, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    page.clock.run_for(2100)  # a look that was due is left out
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/pipelines.json"):
        page.evaluate("""() => {
            Object.defineProperty(document, "hidden", {value: false, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""")


def test_changed_arguments_are_shown_and_what_is_filled_in_stays(open_page: Open) -> None:
    page = open_page("shop").page
    page.get_by_role("button", name="Edit rows as JSON").click()
    page.get_by_role("textbox", name="rows, as JSON").fill("[[1.50]]")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    document = page.evaluate("fetch('openapi.json').then(answer => answer.json())")
    arguments = document["components"]["schemas"]["shop.arguments"]
    arguments["properties"]["discount"] = {"type": "number", "default": 0.5}
    page.route("**/openapi.json", lambda route: route.fulfill(json=document))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # somebody looks again
    page.get_by_role("combobox", name="discount: which value").wait_for()
    assert sent(page) == '{"rows": [[1.50]], "labels": ["tea"]}'


def test_an_answer_stays_when_another_pipeline_changes(open_page: Open) -> None:
    page = open_page("order").page
    run(page)
    wait_for_status(page, "Answered 200")
    document = page.evaluate("fetch('openapi.json').then(answer => answer.json())")
    del document["paths"]["/v2/models/markup/predict"]["post"]["description"]
    page.route("**/openapi.json", lambda route: route.fulfill(json=document))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    announced = page.get_by_text("The pipelines have changed.")
    announced.wait_for(state="attached")
    assert "Answered 200" in answer(page).inner_text()


# -- the form ----------------------------------------------------------------------------------------


def test_the_example_is_filled_in_and_runs(open_page: Open) -> None:
    page = open_page("order").page
    assert page.get_by_role("textbox", name="lines, row 1, item").input_value() == "text"
    body = json.loads(sent(page))
    assert body == {"lines": [{"item": "text"}], "to": {"street": "text"}}
    wait_for_status(page, "Answered 200")
    assert '"pieces": 1' in show_json(page)


def test_every_kind_of_argument_is_sent_as_it_was_given(open_page: Open) -> None:
    page = open_page("order").page
    page.get_by_role("textbox", name="lines, row 1, count").fill("3")
    page.get_by_role("button", name="Add row: lines").click()
    page.get_by_role("textbox", name="lines, row 2, item").fill("cake")
    page.get_by_role("textbox", name="street").fill("Via <Roma> 1")
    page.get_by_role("combobox", name="to.city: which value").select_option("a value")
    page.get_by_role("textbox", name="city").fill("Turin")
    page.get_by_role("combobox", name="size: which value").select_option("a value")
    page.get_by_role("combobox", name="size", exact=True).select_option("large")
    page.get_by_role("combobox", name="gift: which value").select_option("a value")
    page.get_by_role("combobox", name="gift", exact=True).select_option("true")
    page.get_by_role("combobox", name="note: which value").select_option("null")
    assert json.loads(sent(page)) == {
        "lines": [{"item": "text", "count": 3}, {"item": "cake"}],
        "to": {"street": "Via <Roma> 1", "city": "Turin"},
        "size": "large",
        "gift": True,
        "note": None,
    }
    wait_for_status(page, "Answered 200")
    cells = answer(page).get_by_role("row").all_inner_texts()
    assert [re.split(r"\s+", cell.strip()) for cell in cells[1:]] == [
        ["pieces", "4"],
        ["city", "Turin"],
        ["size", "large"],
        ["gift", "true"],
        ["note", "null"],
    ]


def test_numbers_arrive_exactly_and_are_shown_exactly(open_page: Open) -> None:
    page = open_page("exact").page
    page.get_by_role("textbox", name="number", exact=True).fill("123456789012345678901234567890")
    page.get_by_role("textbox", name="numbers, row 1").fill("9007199254740993")
    page.get_by_role("textbox", name="real").fill("1.0")
    body = '{"number": 123456789012345678901234567890, "numbers": [9007199254740993], "real": 1.0}'
    assert sent(page) == body
    wait_for_status(page, "Answered 200")
    text = show_json(page)
    assert '"number": 123456789012345678901234567890' in text
    assert "[9007199254740993]" in text
    assert '"real": 1.0' in text
    calls = page.get_by_role("region", name="The same call", exact=True)
    calls.get_by_label("The call as curl", exact=True).filter(has_text=body).wait_for()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("seven", 'It is "seven"; write an integer, such as 7.'),
        ("7.0", 'It is "7.0"; write an integer, such as 7.'),
        ("", "It is empty; write an integer."),
    ],
)
def test_text_that_is_not_an_integer_is_marked_and_not_sent(
    typed: str, words: str, open_page: Open
) -> None:
    page = open_page("exact").page
    field = page.get_by_role("textbox", name="number", exact=True)
    field.fill(typed)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else 0)
    run(page)
    page.get_by_text(words).wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("field => field === document.activeElement")
    assert asked == []
    field.fill("7")
    assert field.get_attribute("aria-invalid") is None


def test_a_number_beyond_its_type_is_refused_with_the_limit(open_page: Open) -> None:
    page = open_page("exact").page
    page.get_by_role("textbox", name="number", exact=True).fill("1")
    page.get_by_role("textbox", name="numbers, row 1").fill("9223372036854775808")
    run(page)
    page.get_by_text("write at most 9223372036854775807").wait_for()


def test_an_answer_that_names_an_argument_marks_its_field(open_page: Open) -> None:
    page = open_page("exact").page
    page.get_by_role("textbox", name="number", exact=True).fill("1")
    page.get_by_role("textbox", name="numbers, row 1").fill("2")
    page.get_by_role("textbox", name="real").fill("3")
    told = {"error": "argument 'real' must be below 2", "tempo": {"kind": "PayloadError"}}
    page.route("**/predict_stream", lambda route: route.fulfill(json=told, status=422))
    run(page)
    answer(page).get_by_role("alert").get_by_text("argument 'real' must be below 2").wait_for()
    field = page.get_by_role("textbox", name="real")
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("field => field === document.activeElement")


def test_the_servers_own_refusal_marks_the_field(open_page: Open) -> None:
    page = open_page("sums").page
    page.get_by_role("button", name="Edit rows as JSON").click()
    page.get_by_role("textbox", name="rows, as JSON").fill("[[1, 2], [3]]")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    run(page)
    wait_for_status(page, "Failed with 422")
    answer(page).get_by_role("alert").get_by_text("'rows' is ragged").wait_for()
    assert page.get_by_role("textbox", name="rows, as JSON").get_attribute("aria-invalid") == "true"


def test_an_error_of_a_child_has_its_cause_first(open_page: Open) -> None:
    page = open_page("shop").page
    page.get_by_role("button", name="Edit rows as JSON").click()
    page.get_by_role("textbox", name="rows, as JSON").fill("[[1, 2], [3, 4]]")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    run(page)
    wait_for_status(page, "Failed with 500")
    lines = answer(page).get_by_role("alert").inner_text().split("\n")
    lines = [line for line in lines if line]
    assert "ValueError: 2 rows have 1 labels" in lines[0]
    assert "child 'sums'" not in lines[0]
    assert lines[1] == "It came through sums."


def test_json_and_form_are_two_views_of_the_same_arguments(open_page: Open) -> None:
    page = open_page("order").page
    form = page.get_by_role("region", name="Call it", exact=True)
    form.get_by_role("tab", name="JSON").click()
    text = form.get_by_label("The arguments by name, as JSON")
    assert json.loads(text.input_value())["to"] == {"street": "text"}
    text.fill('{"lines": [], "to": {"street": "a", "city": "b"}, "size": "large"}')
    form.get_by_role("tab", name="Form").click()
    assert page.get_by_role("textbox", name="city").input_value() == "b"
    assert json.loads(sent(page)) == {
        "lines": [],
        "to": {"street": "a", "city": "b"},
        "size": "large",
    }


def test_json_that_is_not_json_is_refused_with_its_place(open_page: Open) -> None:
    page = open_page("order").page
    form = page.get_by_role("region", name="Call it", exact=True)
    form.get_by_role("tab", name="JSON").click()
    text = form.get_by_label("The arguments by name, as JSON")
    text.fill('{"lines": [],\n "lines": []}')
    run(page)
    form.get_by_text('line 2, column 2: the name "lines" is given twice').wait_for()
    assert text.get_attribute("aria-invalid") == "true"


def test_a_value_that_fields_cannot_show_stays_json(open_page: Open) -> None:
    page = open_page("order").page
    form = page.get_by_role("region", name="Call it", exact=True)
    form.get_by_role("tab", name="JSON").click()
    body = (
        '{"lines": [{"item": "", "count": 1}, {"item": "a", "color": "red"}], "to": {"street": ""}}'
    )
    form.get_by_label("The arguments by name, as JSON").fill(body)
    form.get_by_role("tab", name="Form").click()
    page.get_by_role("textbox", name="lines, as JSON").wait_for()
    assert sent(page) == body


# -- tables and CSV ----------------------------------------------------------------------------------


def upload(page: Any, argument: str, text: str) -> None:
    file = {"name": "rows.csv", "mimeType": "text/csv", "buffer": text.encode()}
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=f"Upload CSV: {argument}").click()
    chooser.value.set_files(file)
    page.get_by_text("rows.csv").first.wait_for()


def test_a_table_has_rows_and_columns_to_add_and_remove(open_page: Open) -> None:
    page = open_page("sums").page
    page.get_by_role("button", name="Add column: rows").click()
    page.get_by_role("button", name="Add row: rows").click()
    page.get_by_role("button", name="Add row: rows").click()
    for row, column, value in ((1, 1, "1"), (1, 2, "2.50"), (3, 1, "NaN"), (3, 2, "1e3")):
        page.get_by_role("textbox", name=f"rows, row {row}, column {column}").fill(value)
    page.get_by_role("button", name="Remove row 2 of rows").click()
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    page.get_by_role("button", name="Add row: labels").click()
    assert sent(page) == '{"rows": [[1, 2.50], ["NaN", 1e3]], "labels": ["tea", ""]}'


@pytest.mark.parametrize("header", ["", "first,second\n"])
def test_csv_fills_a_table_with_and_without_a_header(header: str, open_page: Open) -> None:
    page = open_page("sums").page
    upload(page, "rows", f"{header}1,2.50\n3,\n")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    page.get_by_role("button", name="Add row: labels").click()
    assert sent(page).startswith('{"rows": [[1, 2.50], [3, "NaN"]]')


def test_csv_becomes_a_data_frame_with_its_names(open_page: Open) -> None:
    page = open_page("table").page
    upload(page, "people", 'age;city\n39;"Rome; Lazio"\n9007199254740993;\n')
    assert json.loads(sent(page)) == {
        "people": [
            {"age": 39, "city": "Rome; Lazio"},
            {"age": 9007199254740993, "city": None},
        ]
    }
    wait_for_status(page, "Answered 200")
    assert "9007199254740994" in answer(page).get_by_role("table").inner_text()


def test_wrong_csv_is_refused_with_its_row_and_changes_nothing(open_page: Open) -> None:
    page = open_page("sums").page
    page.get_by_role("textbox", name="rows, row 1").fill("5")
    upload(page, "rows", "1,2\n3\n")
    page.get_by_text("rows.csv is not used: row 2 has 1 cells, but the first row has 2").wait_for()
    assert page.get_by_role("textbox", name="rows, row 1").input_value() == "5"


def test_a_long_table_is_shown_in_pages_and_sent_whole(open_page: Open) -> None:
    page = open_page("sums").page
    upload(page, "rows", "".join(f"{number},0\n" for number in range(100)))
    page.get_by_text("rows 1 to 20 of 100").wait_for()
    page.get_by_role("button", name="Next rows").click()
    page.get_by_text("rows 21 to 40 of 100").wait_for()
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    assert len(json.loads(sent(page))["rows"]) == 100


def with_columns(document: dict[str, Any]) -> None:
    """Let the arguments of `sums` have names of columns and categories."""
    rows = document["components"]["schemas"]["sums.arguments"]["properties"]["rows"]
    rows["x-columns"] = [
        {"name": "Age"},
        {"name": "Workclass", "categories": ["?", "Private", "State-gov"]},
    ]


def test_columns_have_their_names_and_categories(open_page: Open) -> None:
    page = open_page("sums", change=with_columns).page
    page.get_by_role("textbox", name="rows, row 1, Age").fill("39")
    page.get_by_role("combobox", name="rows, row 1, Workclass").select_option("State-gov")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    assert sent(page) == '{"rows": [[39, 2]], "labels": ["tea"]}'


def test_csv_may_have_the_categories_by_name_and_the_columns_in_any_order(open_page: Open) -> None:
    page = open_page("sums", change=with_columns).page
    upload(page, "rows", "Workclass,Age\nPrivate,39\n2,40\n")
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    assert json.loads(sent(page))["rows"] == [[39, 1], [40, 2]]


# -- answers -----------------------------------------------------------------------------------------


def test_a_stream_is_shown_item_by_item(open_page: Open, site: Site) -> None:
    page = open_page("words").page
    site.gate.unlink(missing_ok=True)
    page.get_by_role("textbox", name="text").fill("one two wait three")
    run(page)
    items = answer(page).get_by_role("list", name="Items")
    items.get_by_role("listitem").nth(1).wait_for()
    assert [text.strip() for text in items.get_by_role("listitem").all_inner_texts()] == [
        "one",
        "two",
    ]
    site.gate.touch()
    wait_for_status(page, "4 items in")
    assert answer(page).get_by_role("tabpanel").inner_text().strip() == "one two wait three"


def test_a_connection_that_ends_without_an_answer_is_not_an_answer(open_page: Open) -> None:
    page = open_page("order").page
    page.route(
        "**/predict_stream",
        lambda route: route.fulfill(body="", content_type="text/event-stream"),
    )
    run(page)
    wait_for_status(page, "No answer")
    answer(page).get_by_role("alert").get_by_text("The connection ended").wait_for()


def test_a_call_can_be_cancelled(open_page: Open, site: Site) -> None:
    page = open_page("words").page
    site.gate.unlink(missing_ok=True)
    page.get_by_role("textbox", name="text").fill("one wait")
    run(page)
    answer(page).get_by_role("listitem").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    wait_for_status(page, "Cancelled after")
    site.gate.touch()  # its thread ends
    page.get_by_role("textbox", name="text").fill("two")
    run(page)
    wait_for_status(page, "1 item in")


def test_an_explanation_shows_its_progress_and_then_its_picture(
    open_page: Open, site: Site
) -> None:
    page = open_page("rules").page
    site.gate.unlink(missing_ok=True)
    page.get_by_role("button", name="Edit payload as JSON").click()
    page.get_by_role("textbox", name="payload, as JSON").fill("[-0.1, 0.2, 0.3, 0.4, 0.5]")
    run(page)
    answer(page).get_by_text(re.compile(r"^\d+ calls?$")).wait_for()
    answer(page).get_by_role("progressbar", name="Explaining").wait_for()
    site.gate.touch()
    wait_for_status(page, "Answered 200")
    picture = answer(page).locator(".tempo-explanation")
    picture.get_by_text("The prediction stays the same").wait_for()
    assert "precision" in picture.inner_text()
    assert '"anchor"' in show_json(page)


# -- the same call -----------------------------------------------------------------------------------


def test_the_call_is_there_as_curl_python_and_json(open_page: Open, site: Site) -> None:
    page = open_page("order").page
    page.get_by_role("textbox", name="street").fill("Vicolo dell'Oro")
    part = page.get_by_role("region", name="The same call", exact=True)
    curl = part.get_by_label("The call as curl", exact=True)
    curl.filter(has_text="Vicolo").wait_for()
    assert f"curl -s '{site.url}v2/models/order/predict'" in curl.inner_text()
    assert r"Vicolo dell'\''Oro" in curl.inner_text()
    part.get_by_role("tab", name="Python").click()
    python = part.get_by_label("The call as python", exact=True).inner_text()
    assert f'tempo_runtime.connect("{site.url}v2/models/order")' in python
    compile(python, "snippet", "exec")


def test_the_python_gives_the_answer_of_the_page(
    open_page: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    page = open_page("exact").page
    page.get_by_role("textbox", name="number", exact=True).fill("9007199254740993")
    page.get_by_role("textbox", name="numbers, row 1").fill("2")
    page.get_by_role("textbox", name="real").fill("NaN")
    part = page.get_by_role("region", name="The same call", exact=True)
    part.get_by_role("tab", name="Python").click()
    python = part.get_by_label("The call as python", exact=True)
    python.filter(has_text="nan").wait_for()
    exec(python.inner_text(), {})
    assert capsys.readouterr().out == "{'number': 9007199254740993, 'numbers': [2], 'real': nan}\n"


def test_a_large_value_is_sent_by_curl_from_a_file(open_page: Open) -> None:
    page = open_page("words").page
    page.get_by_role("textbox", name="text").fill("x" * 3000)
    curl = page.get_by_label("The call as curl", exact=True)
    curl.filter(has_text="-d '@body.json'").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download body.json").click()
    assert json.loads(Path(download.value.path()).read_text()) == {"text": "x" * 3000}


# -- for everybody -----------------------------------------------------------------------------------


def focused(page: Any) -> str:
    name: str = page.evaluate(
        """() => {
            const it = document.activeElement;
            return it.getAttribute("aria-label") || it.labels?.[0]?.innerText || it.innerText || "";
        }"""
    )
    return name.strip()


def tab_to(page: Any, name: str) -> None:
    for _ in range(80):
        if focused(page) == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the key Tab does not reach {name!r}")


def test_it_can_be_used_by_keyboard_alone(open_page: Open, site: Site) -> None:
    page = open_page("words").page
    site.gate.touch()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the pipeline"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Form")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "JSON"
    page.keyboard.press("ArrowLeft")
    tab_to(page, "text")
    page.keyboard.type("one two")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Control+Enter")
    wait_for_status(page, "2 items in")
    page.keyboard.press("Shift+Tab")
    tab_to(page, "Run")
    page.keyboard.press("Space")
    wait_for_status(page, "2 items in")
    tab_to(page, "Text")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Items"


def test_cells_are_reached_by_arrow_keys(open_page: Open) -> None:
    page = open_page("sums").page
    page.get_by_role("button", name="Add row: rows").click()
    page.keyboard.press("ArrowUp")
    assert focused(page) == "rows, row 1"
    page.keyboard.press("Enter")
    assert focused(page) == "rows, row 2"


@pytest.mark.parametrize("name", ["order", "shop", "rules"])
def test_a_narrow_screen_does_not_scroll_sideways(name: str, open_page: Open) -> None:
    page = open_page(name).page
    page.set_viewport_size({"width": 360, "height": 740})
    run(page)
    answer(page).get_by_role("status").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def with_many_columns(document: dict[str, Any]) -> None:
    rows = document["components"]["schemas"]["sums.arguments"]["properties"]["rows"]
    rows["x-columns"] = [{"name": f"Feature {number}"} for number in range(12)]


def test_one_row_of_many_named_columns_is_a_form_and_several_are_a_table(open_page: Open) -> None:
    page = open_page("sums", change=with_many_columns).page
    page.set_viewport_size({"width": 360, "height": 740})
    for number in range(12):
        page.get_by_text(f"Feature {number}", exact=True).click()
        page.keyboard.type(str(number))
    assert page.get_by_role("columnheader", name="Feature 3").count() == 0
    page.get_by_role("textbox", name="labels, row 1").fill("tea")
    assert json.loads(sent(page))["rows"] == [list(range(12))]
    page.get_by_role("button", name="Add row: rows").click()
    page.get_by_role("columnheader", name="Feature 3").wait_for()
    # The table scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, open_page: Open) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = open_page("order", color_scheme=scheme).page
    run(page)
    wait_for_status(page, "Answered 200")
    assert serious(axe, page) == []
    page.get_by_role("navigation").get_by_role("link", name="shop").click()
    page.get_by_role("heading", level=1, name="shop").wait_for()
    page.get_by_role("button", name="Edit rows as JSON").click()
    page.get_by_role("textbox", name="rows, as JSON").fill("[[1")
    run(page)
    page.get_by_text("is not JSON").first.wait_for()
    content = {**state(ready=False, problem="It is down."), "problem": "It does not load."}
    page.route("**/pipelines.json", lambda route: route.fulfill(json=content))
    page.get_by_text("It is down.").wait_for()
    assert serious(axe, page) == []


def serious(axe: Any, page: Any) -> list[tuple[str, list[str]]]:
    found = axe.Axe().run(page).response["violations"]
    return [
        (finding["id"], [node["html"] for node in finding["nodes"]])
        for finding in found
        if finding["impact"] in ("serious", "critical")
    ]


def test_less_motion_is_respected(open_page: Open) -> None:
    page = open_page("order", reduced_motion="reduce").page
    duration = "getComputedStyle(document.querySelector('.skip')).transitionDuration"
    assert page.evaluate(duration) == "0s"
