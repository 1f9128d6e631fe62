"""Send feedback from many clients to two workers that share a Redis, and count what arrives.

python load.py                                 10,000 feedbacks by 8 clients
python load.py --feedbacks 2000 --kill 2       Redis is killed and started again twice meanwhile
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from bandit import ARMS, Bandit, long_offer, short_offer

import tempo_runtime as tempo
from tempo_runtime.testing import free_ports

DEADLINE = 5.0  # seconds of each request
GRACE = 1.0  # seconds that an answer may take on its way


class Redis:
    """A Redis on a free port, which keeps its data when it is killed."""

    def __init__(self, folder):
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}"
        self._command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--dir", folder, "--appendonly", "yes", "--save", ""]
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self):
        self._process.kill()
        self._process.wait()


class Client:
    """Sends feedbacks one after the other, each until it is accepted."""

    def __init__(self, endpoint, feedbacks):
        self._address = urlsplit(endpoint)
        self._feedbacks = feedbacks
        self.accepted = self.refused = self.late = 0
        self.others = []

    def run(self):
        self._connection = http.client.HTTPConnection(self._address.netloc, timeout=60)
        for number in self._feedbacks:
            while not self._send(number):
                time.sleep(0.05)
            self.accepted += 1
        self._connection.close()

    def _send(self, number):
        arm = ARMS[number % len(ARMS)]
        values = {"arm": arm, "feedback": f"feedback-{number}"}
        inputs = [
            {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
            for name, value in values.items()
        ]
        inputs.append({"name": "reward", "shape": [1], "datatype": "FP64", "data": [1.0]})
        body = json.dumps({"inputs": inputs, "parameters": {"tempo_timeout": DEADLINE}})
        start = time.monotonic()
        self._connection.request(
            "POST", f"{self._address.path}/infer", body, {"content-type": "application/json"}
        )
        answer = self._connection.getresponse()
        text = answer.read()
        self.late += time.monotonic() - start > DEADLINE + GRACE
        if answer.status in (503, 504):
            self.refused += 1
            return False
        if answer.status != 200:
            self.others.append(text.decode(errors="replace"))
        return True


def kill_meanwhile(redis, clients, feedbacks, times):
    """Kill Redis at even distances, and start it again when a request was refused."""
    for number in range(1, times + 1):
        while sum(client.accepted for client in clients) < feedbacks * number / (times + 1):
            time.sleep(0.01)
        refused = sum(client.refused for client in clients)
        redis.kill()
        while sum(client.refused for client in clients) == refused:
            time.sleep(0.01)
        redis.start()


def counted():
    """Read the number of feedbacks that were counted, from the state itself."""
    state = Bandit().state
    plays = sum(state.get(f"plays:{arm}", 0) for arm in ARMS)
    return plays, sum(state.get(f"rewards:{arm}", 0.0) for arm in ARMS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feedbacks", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill", type=int, default=0, metavar="TIMES")
    given = parser.parse_args()
    for target in (short_offer, long_offer, Bandit):
        tempo.save(target)
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        os.environ["TEMPO_RUNTIME_STATE__URL"] = redis.url
        options = tempo.LocalOptions(workers=2, env={"TEMPO_RUNTIME_TRANSPORT": "in_process"})
        try:
            with tempo.deploy_local(Bandit, options) as remote:
                numbers = range(given.feedbacks)
                clients = [
                    Client(remote.endpoint, numbers[first :: given.clients])
                    for first in range(given.clients)
                ]
                killing = threading.Thread(
                    target=kill_meanwhile, args=(redis, clients, given.feedbacks, given.kill)
                )
                killing.start()
                with ThreadPoolExecutor(given.clients) as pool:
                    list(pool.map(Client.run, clients))
                killing.join()
                plays, rewards = counted()
        finally:
            redis.kill()
    accepted = sum(client.accepted for client in clients)
    refused = sum(client.refused for client in clients)
    late = sum(client.late for client in clients)
    others = [text for client in clients for text in client.others]
    print(f"accepted: {accepted}, counted: {plays}, rewards: {rewards:g}")
    print(f"refused, and sent again: {refused}; answered late: {late}; killed: {given.kill} times")
    for text in others[:3]:
        print(f"other answer: {text}")
    return 0 if accepted == plays == rewards and not (late or others) else 1


if __name__ == "__main__":
    sys.exit(main())
