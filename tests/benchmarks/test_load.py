"""The load of the benchmarks compares each answer with the expected one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from benchmarks.harness.load import (
    Question,
    closed_loop,
    v2_binary,
    v2_binary_numbers,
    v2_json,
    v2_numbers,
)

ROWS = np.array([[1.0, 2.5], [3.0, 4.0]])


@contextmanager
def server(status: int = 200, chunked: bool = False, reply: str = "same") -> Iterator[int]:
    """Answer a V2 request with its own numbers, or with others, or not at all; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if reply == "nothing":
                self.close_connection = True
                return
            data = json.loads(body)["inputs"][0]["data"]
            if reply == "one wrong":
                data[-1] += 1
            answer = json.dumps({"outputs": [{"data": data}]}).encode()
            self.send_response(status)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (answer[:7], answer[7:], b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            else:
                self.send_header("Inference-Header-Content-Length", "7")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield served.server_port
        finally:
            served.shutdown()
            thread.join()


def questions(*expected: np.ndarray) -> list[Question]:
    return [
        Question(v2_json("m", "x", ROWS, number), right.ravel(), v2_numbers)
        for number, right in enumerate(expected)
    ]


def test_right_answers_are_counted_as_right() -> None:
    with server() as port:
        run = closed_loop(port, questions(ROWS), clients=3, seconds=0)
    assert (len(run.times), run.wrong) == (3, 0)
    assert run.rate > 0


def test_chunks_are_put_together() -> None:
    with server(chunked=True) as port:
        assert closed_loop(port, questions(ROWS), clients=2, seconds=0).wrong == 0


def test_one_wrong_number_makes_an_answer_wrong() -> None:
    with server(reply="one wrong") as port:
        run = closed_loop(port, questions(ROWS), clients=3, seconds=0)
    assert (len(run.times), run.wrong) == (3, 3)
    assert run.rate == 0


def test_the_answer_to_another_question_is_wrong() -> None:
    with server() as port:
        run = closed_loop(port, questions(ROWS, ROWS + 1), clients=4, seconds=0)
    assert (len(run.times), run.wrong) == (4, 2)


def test_errors_are_wrong() -> None:
    with server(status=500) as port:
        assert closed_loop(port, questions(ROWS), clients=2, seconds=0).wrong == 2


def test_answers_that_do_not_come_are_wrong() -> None:
    with server(reply="nothing") as port:
        assert closed_loop(port, questions(ROWS), clients=2, seconds=0).wrong == 2


def test_binary_requests_end_with_the_raw_numbers() -> None:
    request = v2_binary("m", "x", ROWS, 0)
    assert request.endswith(ROWS.tobytes())
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(head.split(b"Inference-Header-Content-Length: ")[1].split(b"\r\n")[0])
    assert json.loads(body[:length])["inputs"][0]["parameters"] == {"binary_data_size": 32}


def test_numbers_of_binary_answers_follow_their_json() -> None:
    head = json.dumps({"outputs": [{"datatype": "FP64"}]}).encode()
    assert v2_binary_numbers(head + ROWS.tobytes()).tolist() == ROWS.ravel().tolist()


def test_an_answer_in_many_parts_is_read_to_its_end() -> None:
    rows = np.arange(200_000.0).reshape(-1, 2)
    question = Question(v2_json("m", "x", rows, 0), rows.ravel(), v2_numbers)
    with server() as port:
        assert closed_loop(port, [question], clients=2, seconds=0).wrong == 0
