"""What the client tests share: a server in a folder of its own, programs in the background, waiting with an end."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import redis

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = HERE.parent / ".cache/clients"
PYTHON = CACHE / "venv/bin/python"
NODE = CACHE / "node"


class Skipped(Exception):
    """What the step needs is not here."""


class Server:
    """The server under test, in a folder of its own."""

    def __init__(self, options, *words):
        self.options, self.port = options, options.port
        self.folder = Path(tempfile.mkdtemp(prefix="firn-clients-"))
        self.log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen(
            [options.server, "--port", str(self.port), "--dir", str(self.folder), "--appendonly", "yes", *words],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for(self.is_up, "the server", self.last_words)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def is_up(self):
        if self.process.poll() is not None:
            sys.exit(f"the server ended during its start:\n{self.last_words()}")
        return redis.Redis(port=self.port).ping()

    def last_words(self):
        return (self.folder / "server.log").read_text(errors="replace")[-3000:]

    def end(self, keep):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class Background:
    """A program that runs while something is tried, and is ended after it."""

    def __init__(self, words, log, **more):
        self.path = log
        self.file = open(log, "wb")
        self.process = subprocess.Popen([str(word) for word in words], stdout=self.file, stderr=self.file, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.file.close()

    def said(self):
        return Path(self.path).read_text(errors="replace")[-3000:]


def wait_for(condition, what, words=lambda: "", seconds=60):
    end = time.time() + seconds
    while True:
        try:
            if condition():
                return
        except (redis.ConnectionError, redis.BusyLoadingError, httpx.HTTPError, OSError):
            pass
        if time.time() > end:
            raise AssertionError(f"{what} is not there after {seconds} s\n{words()}")
        time.sleep(0.02)


def same(found, expected, what=""):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def raises(kind, text, call):
    try:
        found = call()
    except kind as error:
        assert text in str(error), f"expected {text!r}, found {error}"
        return
    raise AssertionError(f"expected {kind.__name__} with {text!r}, found {found!r}")


def run(words, seconds, **more):
    """A program that ends by itself; its output is told if it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, **more)
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def node(script, *words):
    """A script of this folder under Node, whose last line must say that all was as expected; the lines before it."""
    if not (NODE / ".complete").exists():
        raise Skipped("npm's packages are not installed")
    # A module is looked for beside the script that asks for it.
    shutil.copy(HERE / script, NODE / script)
    *said, last = run(["node", NODE / script, *words], 100, cwd=NODE, env={**os.environ, "NODE_NO_WARNINGS": "1"}).strip().splitlines()
    same(last, "all as expected", said)
    return said


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
