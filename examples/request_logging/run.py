"""Start a sink, deploy the pipeline and its model on this machine, and print what the sink receives."""

import json
from collections import defaultdict

import tempo_runtime as tempo
from credit import Credit, score
from sink import Event, listening

PEOPLE = [
    {"person": {"name": "Ada", "iban": "DE02"}, "income": 60.0, "debts": 20.0},
    {"person": {"name": "Bob", "iban": "FR14"}, "income": 20.0, "debts": 60.0},
]


def line(event: Event) -> str:
    """Describe an event in a line."""
    kind = event["type"].rpartition(".")[2]
    data = {name: part for name, part in event["data"].items() if name != "milliseconds"}
    return f"  {event['modelid']:7} {kind:9} {json.dumps(data)}"


if __name__ == "__main__":
    for each in (score, Credit):
        tempo.save(each)
    events: list[Event] = []
    with listening(events) as url:
        options = tempo.LocalOptions(env={"TEMPO_RUNTIME_INSIGHTS__SINK": url})
        with tempo.deploy_local(Credit, options) as remote:
            for person in PEOPLE:
                remote.predict(**person)
        # The servers have ended, and have sent what was waiting.
    by_request = defaultdict(list)
    for event in sorted(events, key=lambda event: event["time"]):
        by_request[event["requestid"]].append(event)
    for number, logged in enumerate(by_request.values(), 1):
        print(f"request {number}")
        print(*map(line, logged), sep="\n")
