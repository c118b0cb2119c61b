"""Children that are forked with a model loaded end normally, and use it or load anew."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import forked
import pytest

HERE = Path(forked.__file__).parent
PATIENCE = 600
"""Seconds after which a program is taken to hang; most take a few on a machine with nothing else to do."""


def run(*programs, **environment):
    """Run programs of `forked` in one process, one after the other."""
    done = subprocess.run(
        [sys.executable, forked.__file__, *(program.__name__ for program in programs)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_child_ends_normally_whatever_it_does_with_its_parents_model():
    run(forked.does_nothing, forked.drops_it, forked.uses_it, forked.opens_it_again, forked.grandchildren)


def test_a_stream_goes_on_in_both():
    run(forked.in_the_middle_of_a_stream)


AT_ANY_TIME = [forked.while_another_thread_loads, forked.while_other_threads_generate]


@pytest.mark.parametrize("work", AT_ANY_TIME)
def test_a_fork_may_come_at_any_time(work):
    run(work)


@pytest.mark.prove
@pytest.mark.parametrize("work", AT_ANY_TIME)
def test_100_forks_may_come_at_any_time(work, record_proof):
    run(work, FORKS="100")
    record_proof(f"forks {work.__name__.replace('_', ' ')}", forks=100, hanging=0, different=0)


def test_a_bundle_that_has_changed_since_is_not_taken_for_the_parents(tmp_path):
    run(forked.when_the_bundle_has_changed, SCRATCH=str(tmp_path))


def test_a_child_leaves_the_process_of_its_parents_chat_template_alone():
    run(forked.a_chat_template)


@pytest.mark.parametrize("work", [forked.pool_by_fork, forked.pool_by_spawn, forked.pool_by_forkserver])
def test_pools_of_processes_give_the_same_texts(work):
    run(work)


APP = """
from forked import OPTIONS, PROMPT, opened

generator = opened()
first = generator.generate(PROMPT, **OPTIONS)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [generator.generate(PROMPT, **OPTIONS).encode()]
"""


class Answers(http.client.HTTPConnection):
    """A connection to a socket of the system."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def test_workers_of_gunicorn_use_the_model_that_was_loaded_before_them(tmp_path):
    pytest.importorskip("gunicorn")
    (tmp_path / "served.py").write_text(APP)
    address = tmp_path / "s"
    command = [
        *(
            sys.executable,
            "-m",
            "gunicorn",
            "served:app",
            "--preload",
            "--workers",
            "2",
            "--timeout",
            str(PATIENCE),
        ),
        *("--bind", f"unix:{address}", "--no-control-socket"),
    ]
    paths = os.pathsep.join([str(HERE), *sys.path])
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            for line in server.stderr:
                if "Booting worker" in line:
                    break
            connection = Answers(address)
            connection.request("GET", "/")
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200
            assert text == forked.opened().generate(forked.PROMPT, **forked.OPTIONS)
        finally:
            server.send_signal(signal.SIGTERM)
            told = server.communicate(timeout=PATIENCE)[1]
    assert server.returncode == 0
    assert "SIGKILL" not in told
    assert "TIMEOUT" not in told
