"""The log entry of an error, and the message for the client."""

from __future__ import annotations

import logging

import pytest
from mlserver.errors import MLServerError

from tempo_runtime.errors import Fault, PayloadError, PipelineFailed
from tempo_runtime.protocol.error_details import ErrorInfo, unmarked
from tempo_runtime.runtime.error_mapping import Answered, answered, described, install


def test_error_that_nothing_expected_is_500_and_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    info, message = described(AttributeError("no such thing"), "shop")
    assert info == ErrorInfo("TempoError", 500, Fault.SERVER)
    assert message.startswith(
        "pipeline 'shop' failed: AttributeError: no such thing; its server's log"
    )
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_error_that_was_logged_with_its_traceback_is_not_logged_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = PipelineFailed("it broke")
    error.logged = True
    described(error, "shop")
    assert caplog.records == []


def test_text_that_a_client_chose_cannot_break_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    described(PayloadError("no\nERROR all is lost\x1b[31m käse"), "shop")
    [record] = caplog.records
    assert record.getMessage() == (
        "pipeline 'shop' answered 422 (PayloadError, fault of the client): "
        "no\\nERROR all is lost\\u001b[31m käse"
    )


def test_status_outside_of_errors_that_an_author_chose_is_500() -> None:
    info, _ = described(MLServerError("odd", 200), "shop")
    assert (info.status, info.fault) == (500, Fault.PIPELINE)


@pytest.mark.parametrize("name", ["mlserver.grpc", "mlserver.parallel"])
def test_mlserver_logs_no_error_that_was_logged_and_all_others(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    install()
    logger = logging.getLogger(name)
    for error in (answered(PayloadError("no"), "shop", {}), ValueError("a fault of its own")):
        try:
            raise error
        except (Answered, ValueError):
            logger.exception("it failed")
    caught = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in caught] == [ValueError]


def test_mlservers_answer_has_no_field_of_ours_for_errors_that_are_not() -> None:
    from mlserver.rest import errors

    install()
    response = errors.Response(status_code=404, content={"error": "Model a not found"})
    assert response.body == b'{"error":"Model a not found"}'
    assert "tempo-error" not in response.headers
    text = str(Answered("no", ErrorInfo("Overloaded", 503, Fault.SERVER, True, 0.2), {}))
    assert unmarked(text)[0] == "no"
    response = errors.Response(status_code=503, content={"error": text})
    assert response.headers["retry-after"] == "1"
