"""What people build on redis-py and on Node's libraries: caches, services, sessions, limiters, queues, a web console."""
import os
import shutil
import time

import httpx
import redis
from harness import CACHE, HERE, NODE, PYTHON, ROOT, Background, Skipped, free_port, node, run, same, wait_for


def caching(server):
    """A decorator that caches with SETEX and forgets with KEYS."""
    from app import cached
    client = redis.Redis(port=server.port)
    calls = []

    @cached(client, 100)
    def slow(number):
        calls.append(number)
        return {"square": number * number}

    for _ in range(3):
        same([slow(n)["square"] for n in range(5)], [0, 1, 4, 9, 16])
    same(calls, list(range(5)))
    client.set("cache:other:[1]", "{}")
    same(slow.forget(), 5)
    slow(3)
    same(calls[5:], [3])
    same(client.exists("cache:other:[1]"), 1)
    assert 0 < client.ttl("cache:slow:[3]") <= 100


def with_app(server, use):
    """Runs the FastAPI application under uvicorn."""
    port = free_port()
    words = [PYTHON, "-m", "uvicorn", "app:app", "--port", port, "--log-level", "warning"]
    environment = {**os.environ, "REDIS_URL": server.url}
    with Background(words, server.folder / "uvicorn.log", cwd=HERE, env=environment) as app:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            wait_for(lambda: http.get("/popular").status_code == 200, "the application", app.said)
            use(http)


def fastapi(server):
    """An HTTP service on redis.asyncio, with a Lua fixed-window limiter as its middleware, under concurrent requests."""
    from concurrent.futures import ThreadPoolExecutor

    def use(http):
        same([http.get("/visits/home").json()["visits"] for _ in range(3)], [1, 2, 3])
        same(http.get("/visits/about").json(), {"page": "about", "visits": 1})
        same(http.get("/popular").json(), [["home", 3.0], ["about", 1.0]])
        mail = redis.Redis(port=server.port, decode_responses=True).pubsub(ignore_subscribe_messages=True)
        mail.subscribe("items")
        mail.get_message(timeout=5)
        same(http.put("/items/lamp", json={"price": "12", "colour": "red"}).json(), {"stored": "lamp"})
        same(http.get("/items/lamp").json(), {"price": "12", "colour": "red"})
        wait_for(lambda: (message := mail.get_message(timeout=1)) and message["data"] == "lamp", "the message")
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda _: http.get("/popular", headers={"x-user": "ann"}).status_code, range(20)))
        same((codes.count(200), codes.count(429)), (5, 15))
        refused = http.get("/popular", headers={"x-user": "ann"})
        assert 1 <= int(refused.headers["retry-after"]) <= 60, refused.headers
        same(http.get("/popular", headers={"x-user": "bob"}).status_code, 200)
        client.pexpire("limit:ann", 1)  # The window ends.
        wait_for(lambda: http.get("/popular", headers={"x-user": "ann"}).status_code == 200, "the next window")
    client = redis.Redis(port=server.port)
    with_app(server, use)
    ttl = client.pttl("limit:ann")
    assert 0 < ttl <= 60_000, ttl


def flask_session(server):
    """Flask-Session with its Redis store."""
    import flask
    from flask_session import Session
    app = flask.Flask("shop")
    client = redis.Redis(port=server.port)
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, SESSION_PERMANENT=True, PERMANENT_SESSION_LIFETIME=600)
    Session(app)

    @app.get("/add/<thing>")
    def add(thing):
        basket = flask.session.get("basket", [])
        flask.session["basket"] = [*basket, thing]
        return {"basket": flask.session["basket"]}

    @app.get("/leave")
    def leave():
        flask.session.clear()
        return {}

    first, second = app.test_client(), app.test_client()
    same(first.get("/add/pen").json, {"basket": ["pen"]})
    same(first.get("/add/ink").json, {"basket": ["pen", "ink"]})
    same(second.get("/add/cup").json, {"basket": ["cup"]})
    keys = client.keys("session:*")
    same(len(keys), 2)
    assert all(0 < client.ttl(key) <= 600 for key in keys)
    first.get("/leave")
    same(len(client.keys("session:*")), 1)


def sessions(server):
    """A session manager: sliding expiry, scan_iter, UNLINK."""
    from app import Sessions
    client = redis.Redis(port=server.port, decode_responses=True)
    manager = Sessions(client, 100)
    mine = [manager.create("ann", device=f"d{n}") for n in range(120)]
    manager.create("bob", device="x")
    client.expire(mine[0], 5)
    same(manager.touch(mine[0])["device"], "d0")
    assert client.ttl(mine[0]) > 50, "used, so it goes on"
    client.pexpire(mine[1], 1)
    wait_for(lambda: not client.exists(mine[1]), "the end of a session")
    same(manager.touch(mine[1]), None)
    same(manager.of("ann"), sorted(mine[:1] + mine[2:]))
    same(manager.end_all("ann"), 119)
    same(len(manager.of("bob")), 1)


def rq(server):
    """rq with a worker of its own: results, a dependency, a failure."""
    import app
    from rq import Queue
    client = redis.Redis(port=server.port)
    queue = Queue("default", connection=client)
    good = [queue.enqueue(app.job, n, n) for n in range(4)]
    bad = queue.enqueue(app.bad_job)
    last = queue.enqueue(app.job, 1, 2, depends_on=good[-1])
    words = [PYTHON, "-m", "rq.cli", "worker", "--burst", "--url", server.url, "default"]
    run(words, 100, cwd=HERE)
    same([job.latest_result().return_value for job in good], [2 * n for n in range(4)])
    same(last.latest_result().return_value, 3)
    same(bad.get_status(refresh=True).value, "failed")
    assert "as asked" in bad.latest_result().exc_string
    same(queue.failed_job_registry.get_job_ids(), [bad.id])


def celery(server):
    """celery with a worker of two threads: results, groups, a chord, retries, a task for later, a failure."""
    os.environ["REDIS_URL"] = server.url
    import tasks
    from celery import chord, group
    words = [PYTHON, "-m", "celery", "-A", "tasks", "worker", "--pool", "threads", "--concurrency", "2", "--without-gossip",
             "--without-mingle", "--loglevel", "warning"]
    with Background(words, server.folder / "celery.log", cwd=HERE) as worker:
        try:
            same(tasks.add.delay(2, 3).get(timeout=60), 5)
            many = group(tasks.add.s(n, n) for n in range(30))()
            same(many.get(timeout=60), [2 * n for n in range(30)])
            same(chord(tasks.add.s(n, 1) for n in range(5))(tasks.total.s()).get(timeout=60), 15)
            same((tasks.add.s(1, 1) | tasks.add.s(5)).delay().get(timeout=60), 7)
            same(tasks.flaky.delay("tries").get(timeout=60), 3)
            began = time.time()
            same(tasks.add.apply_async((1, 2), countdown=0.5).get(timeout=60), 3)
            assert time.time() - began >= 0.5, "not before its time"
            try:
                tasks.bad.delay().get(timeout=60)
                raise AssertionError("a task that fails")
            except ValueError as error:
                same(str(error), "as asked")
            same(list(tasks.app.control.ping(timeout=2)[0].values()), [{"ok": "pong"}])
        except Exception as error:
            raise AssertionError(worker.said()) from error
    tasks.app.close()
    same(redis.Redis(port=server.port).llen("celery"), 0)


def ioredis(server):
    node("ioredis.mjs", server.port)


def bullmq(server):
    node("bullmq.mjs", server.port)


def commander(server):
    """redis-commander: its HTTP interface, and its page in headless Chromium."""
    program = NODE / "node_modules/redis-commander/bin/redis-commander.js"
    if not program.exists():
        raise Skipped("redis-commander is not installed")
    client = redis.Redis(port=server.port)
    client.set("shop:greeting", "hello")
    client.hset("shop:lamp", mapping={"price": 12, "colour": "red"})
    client.zadd("shop:popular", {"lamp": 3, "cup": 1})
    client.rpush("shop:queue", "a", "b")
    port = free_port()
    words = ["node", program, "--redis-host", "127.0.0.1", "--redis-port", server.port, "--address", "127.0.0.1",
             "--port", port, "--root-pattern", "*", "--noload", "--nosave"]
    with Background(words, server.folder / "commander.log", cwd=NODE) as console:
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        wait_for(lambda: http.get("/").status_code == 200, "redis-commander", console.said)
        wait_for(lambda: http.get("/apiv2/connection").status_code == 200, "its connection", console.said, 20)
        name = f"R:127.0.0.1:{server.port}:0"
        found = http.get(f"/apiv1/keystree/{name}/shop:")
        same(found.status_code, 200, found.text[:500])
        assert all(word in found.text for word in ("greeting", "lamp", "popular", "queue")), found.text[:500]
        key = http.get(f"/apiv1/key/{name}/shop:lamp").json()
        same((key["type"], "colour" in str(key["data"])), ("hash", True), str(key))
        chromium = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
        if chromium is None:
            raise Skipped("its pages answer, but there is no Chromium to look at them")
        picture = CACHE / "redis-commander.png"
        picture.unlink(missing_ok=True)
        node("commander.mjs", chromium, f"http://127.0.0.1:{port}/", picture)
        same(picture.read_bytes()[:4], b"\x89PNG")
        same(client.hget("shop:lamp", "colour"), b"red")
        return f"picture in {os.path.relpath(picture, ROOT)}"
