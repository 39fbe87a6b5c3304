"""The watch over strangers' files sees what it must: readers that break one law each are caught, sound ones are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Worker

pytestmark = pytest.mark.fuzz

# In the order of `planted.READERS`: the reader, and the law that it breaks.
LAWS = {
    "nothing": "",
    "refuses": "",
    "opens a path": "opens outside the source: open",
    "opens a path in a thread": "opens outside the source: open",
    "follows a link": "opens outside the source: open",
    "opens a file above": "opens outside the source: open",
    "lists a folder": "opens outside the source: os.listdir",
    "writes a file": "writes outside the source: open",
    "writes into the source": "writes outside the source: open",
    "renames the source": "writes outside the source: os.rename",
    "connects": "network: socket.",
    "asks for a name": "network: socket.getaddrinfo",
    "starts a program": "program: subprocess.Popen",
    "starts a shell": "program: os.system",
    "starts Python": "program: subprocess.Popen",
    "loads a library": "code: loads what a file holds",
    "imports a name": "code: imports what a file names",
    "runs a file": "code: runs what a file holds",
    "opens a bait natively": "native code reads a bait: secret.txt",
    "connects natively": "native code connects",
    "fails": "ends in ValueError",
    "exits": "ends in SystemExit",
    "quotes": "an error quotes personal text",
    "acts on the terminal": "an error holds characters that act on a terminal",
    "prints": "prints personal text",
    "leaves a copy": "leaves a copy of personal text",
    "tells of another file": "accepts the text of another file",
    "gives half a character": "accepts a text that cannot be written",
    "gives nothing": "accepts an empty text",
    "spins": "takes too long",
    "waits": "takes too long",
    "takes memory": "takes too much memory",
    "crashes": "ends the process",
}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Iterator[Worker]:
    """A worker that gives a case little time."""
    made = type(worker)(tmp_path_factory.mktemp("hasty"), cpu_s=2.0)
    yield made
    made.close()


@pytest.mark.parametrize("reader", LAWS)
def test_a_reader_that_breaks_a_law_is_caught(hasty: Worker, worker: Worker, reader: str) -> None:
    # Taking memory needs time on a busy machine, and must not be caught for that.
    patient = worker if reader == "takes memory" else hasty
    told = patient.run("planted", 0, list(LAWS).index(reader))
    assert told["how"] in (reader, ""), "the two lists are in one order"
    assert told.get("law", "").startswith(LAWS[reader]), told
    assert (told["outcome"] == "fault") == bool(LAWS[reader])


def test_one_seed_gives_the_same_cases(worker: Worker) -> None:
    first, second = ([worker.run("tables", 5, index)["how"] for index in range(6)] for _ in range(2))
    assert first == second
    assert first != [worker.run("tables", 6, index)["how"] for index in range(6)]
