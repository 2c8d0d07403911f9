"""redis-py itself: both protocols, sync and asyncio, pools, pub/sub, locks, scripts, client-side caching, TLS, metrics."""
import asyncio
import os
import shutil
import time

import httpx
import redis
import redis.asyncio
from harness import Skipped, free_port, raises, run, same, wait_for


def sync(server, protocol):
    """from_url, pools, health checks, pipelines, pub/sub, locks, scripts."""
    pool = redis.ConnectionPool.from_url(
        f"{server.url}?protocol={protocol}&health_check_interval=1&decode_responses=True", max_connections=4)
    client = redis.Redis(connection_pool=pool)
    same(client.set("k", "ä"), True)
    same(client.get("k"), "ä")
    time.sleep(1.1)  # The next command is preceded by a health check.
    pings = client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
    same(client.get("k"), "ä")
    assert pings >= 1, "no health check was seen"
    taken = [pool.get_connection() for _ in range(4)]
    raises(redis.ConnectionError, "", pool.get_connection)
    for connection in taken:
        pool.release(connection)
    pipelines(client)
    locks(client)
    messages(client, protocol)
    script = client.register_script("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
    same(script(keys=["k"], args=["x"]), ["k", "x", "other"])
    client.script_flush()
    same(script(keys=["k"], args=["y"]), ["k", "y", "other"], "a script is loaded anew behind NOSCRIPT")
    with client.pipeline() as pipe:
        script(keys=["k"], args=["z"], client=pipe)
        same(pipe.execute(), [["k", "z", "other"]], "a script in a pipeline is loaded ahead")
    same(client.zadd("z", {"a": 1.5, "b": 2}), 2)
    same([list(pair) for pair in client.zrange("z", 0, -1, withscores=True)], [["a", 1.5], ["b", 2.0]])
    info = client.info("everything")
    assert info["redis_version"].startswith("7."), info["redis_version"]
    assert info["cmdstat_get"]["calls"] >= 3, info["cmdstat_get"]
    client.config_set("slowlog-log-slower-than", 0)
    client.get("slow")
    client.config_set("slowlog-log-slower-than", 10_000)
    # Joined as bytes by the library, which therefore must not decode them.
    slow = [entry["command"] for entry in redis.Redis.from_url(server.url, protocol=protocol).slowlog_get(5)]
    assert b"GET slow" in slow, slow
    assert client.memory_usage("k") > 0 and client.latency_latest() == []
    client.client_kill_filter(_id=client.client_id(), skipme=False) if protocol == 2 else None
    same(client.get("k"), "other", "after CLIENT KILL, by the pool's own reconnection")
    pool.disconnect()


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.rpush("list", number)
        same(pipe.execute(), list(range(1, 501)))
        pipe.incr("list").get("k")
        failed, value = pipe.execute(raise_on_error=False)
        assert "WRONGTYPE" in str(failed) and value == "ä", (failed, value)
    with client.pipeline() as pipe:
        pipe.watch("k")
        client.set("k", "other")
        pipe.multi()
        pipe.set("k", "mine")
        raises(redis.WatchError, "", pipe.execute)

    def double(pipe):
        value = int(pipe.get("n") or 1)
        pipe.multi()
        pipe.set("n", 2 * value)
    for _ in range(3):
        client.transaction(double, "n")
    same(client.get("n"), "8")


def locks(client):
    with client.lock("lock", timeout=10, blocking_timeout=1) as lock:
        assert not client.lock("lock", timeout=10, blocking_timeout=0.1).acquire(), "held twice"
        assert lock.extend(10) and lock.reacquire() and lock.owned() and 0 < client.pttl("lock") <= 10_000
        client.set("lock", "another's")
        raises(redis.exceptions.LockNotOwnedError, "", lambda: lock.extend(1))
        client.set("lock", lock.local.token)
    same(client.exists("lock"), 0)


def messages(client, protocol):
    with client.pubsub() as mail:
        mail.subscribe("a")
        mail.psubscribe("b*")
        mail.ssubscribe("c")
        seen = []
        wait_for(lambda: (message := mail.get_message(timeout=1)) and (seen.append(message["type"]) or len(seen) == 3), "mail",
                 lambda: str(seen), 20)
        same(sorted(seen), ["psubscribe", "ssubscribe", "subscribe"])
        same((client.pubsub_channels(), client.pubsub_numpat(), client.pubsub_numsub("a", "x")), (["a"], 1, [("a", 1), ("x", 0)]))
        same(client.publish("a", "1") + client.publish("bc", "2") + client.spublish("c", "3"), 3)
        got = [mail.get_sharded_message(timeout=5) if kind else mail.get_message(timeout=5) for kind in (0, 0, 0)]
        same([(one["type"], one["channel"], one["data"]) for one in got],
             [("message", "a", "1"), ("pmessage", "bc", "2"), ("smessage", "c", "3")])
        if protocol == 2:  # With RESP3 a pong is a reply like others, which the library does not make a message of.
            mail.ping("well?")
            wait_for(lambda: (message := mail.get_message(timeout=1)) and message["type"] == "pong", "pong")
        mail.unsubscribe()
        wait_for(lambda: (message := mail.get_message(timeout=1)) and message["type"] == "unsubscribe", "the end")
        same(client.publish("a", "1"), 0)
    heard = []
    client.config_set("notify-keyspace-events", "KEA")
    with client.pubsub() as mail:
        mail.psubscribe(**{"__keyevent@0__:*": lambda message: heard.append((message["channel"].split(":")[1], message["data"]))})
        worker = mail.run_in_thread(sleep_time=0.01)
        try:
            wait_for(client.pubsub_numpat, "the subscription")
            client.set("event", 1)
            client.pexpire("event", 1)
            wait_for(lambda: len(heard) == 3, "events", lambda: str(heard))
        finally:
            worker.stop()
            worker.join()
    client.config_set("notify-keyspace-events", "")
    same(heard, [("set", "event"), ("expire", "event"), ("expired", "event")])


def asynchronous(server, protocol):
    """The same library's asyncio side: a pool that waits, health checks, blocking pops, locks, pub/sub, scripts."""
    async def talk():
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            server.url, protocol=protocol, decode_responses=True, max_connections=10, timeout=20, health_check_interval=1,
            client_name="pool")
        client = redis.asyncio.Redis(connection_pool=pool)
        await client.set("n", 0)
        await asyncio.gather(*(client.incr("n") for _ in range(200)))
        same(await client.get("n"), "200")
        names = [connection["name"] for connection in await client.client_list()]
        same(names.count("pool"), 10, "two hundred at a time share ten connections")
        waiting = asyncio.create_task(client.blpop("queue", timeout=10))
        await asyncio.sleep(0.1)
        await client.rpush("queue", "job")
        same(list(await waiting), ["queue", "job"])
        async with client.pipeline(transaction=True) as pipe:
            same(await pipe.incr("n").hset("h", "f", "v").hgetall("h").execute(), [201, 1, {"f": "v"}])

        async def add():
            async with client.lock("lock", timeout=10, blocking_timeout=30, sleep=0.005):
                value = int(await client.get("n"))
                await asyncio.sleep(0)
                await client.set("n", value + 1)
        await asyncio.gather(*(add() for _ in range(20)))
        same(await client.get("n"), "221", "locked additions")
        script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        same(await script(keys=["n"], args=[9]), 230)
        async with client.pubsub() as mail:
            await mail.subscribe("news")
            await mail.get_message(timeout=5)
            for number in range(100):
                await client.publish("news", number)
            heard = []
            async for message in mail.listen():
                heard.append(int(message["data"]))
                if len(heard) == 100:
                    break
            same(heard, list(range(100)))
        same({key async for key in client.scan_iter(match="*")}, {"n", "h"})
        await client.aclose()
        await pool.disconnect()
    asyncio.run(asyncio.wait_for(talk(), 60))


def cached_by_the_client(server):
    """Client-side caching: what is read again comes from the client, what somebody changes does not."""
    from redis.cache import CacheConfig
    # The library asks for a server of version 7.4, though nothing that it uses is as new as that.
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.2.0"
    client = redis.Redis(port=server.port, protocol=3, decode_responses=True, cache_config=CacheConfig(max_size=100))
    other = redis.Redis(port=server.port, decode_responses=True)

    def gets():
        return other.info("commandstats")["cmdstat_get"]["calls"]
    other.mset({"a": 1, "b": 1})
    same((client.get("a"), client.get("b")), ("1", "1"))
    before = gets()
    same([client.get("a") for _ in range(50)], ["1"] * 50)
    same(gets(), before, "fifty readings were answered by the client's own cache")
    for number in range(2, 30):
        other.set("a", number)
        wait_for(lambda number=number: client.get("a") == str(number), "the new value")
    other.flushall()
    wait_for(lambda: client.get("a") is None and client.get("b") is None, "the end of all keys")
    other.hset("h", "f", "1")
    same(client.hgetall("h"), {"f": "1"})
    other.pexpire("h", 1)
    wait_for(lambda: client.hgetall("h") == {}, "the end of the hash")
    client.close()


def metrics(server):
    """The page of metrics, read by Prometheus' own parser and counted against INFO."""
    from prometheus_client.parser import text_string_to_metric_families
    client = redis.Redis(port=server.port, decode_responses=True)
    port = free_port()
    try:
        client.config_set("metrics-port", port)
    except redis.ResponseError as error:
        raise Skipped(f"no metrics here: {error}") from error
    client.config_set("prefix-stats", "user:", "prefix-stats-delimiter", ":")
    client.config_resetstat()
    odd = 'k{\\"}\n:x'
    client.mset({f"{prefix}:{number}": number for prefix in ("key", "user", "(other)") for number in range(7)})
    client.mset({odd: 1, "alone": 1})
    for number in range(7):
        client.get(f"key:{number}")
        client.get(f"user:{number}")
    client.get("user:none")
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
    wait_for(lambda: http.get("/healthz").text == "ok\n", "/healthz")
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    for family in families.values():
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        assert family.samples or family.type == "counter" or family.name.startswith("firn_"), family
        if family.type == "counter":
            # The parser takes the suffix off the family's name: a counter without it would show here.
            assert all(sample.name == f"{family.name}_total" for sample in family.samples), family
        if family.type == "histogram":
            rows = {}
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    rows.setdefault(sample.labels["command"], []).append((float(sample.labels["le"]), sample.value))
            for command, buckets in rows.items():
                same(buckets, sorted(buckets), command)
                same(buckets[-1][0], float("inf"), command)
    durations = families["firn_command_duration_seconds"].samples
    same([s.value for s in durations if s.name.endswith("_count") and s.labels == {"command": "get"}], [15.0])
    same([s.value for s in families["firn_keyspace_hits"].samples], [14.0])
    same([s.value for s in families["firn_keys"].samples if s.labels == {"db": "0"}], [23.0])
    for family in families.values():
        rows = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        same(len(rows), len(set(rows)), f"no row of {family.name} is there twice, or Prometheus takes none")

    def by_prefix(name):
        return {sample.labels["prefix"]: sample.value for sample in families[f"firn_prefix_{name}"].samples}
    hits, misses, keys = by_prefix("hits"), by_prefix("misses"), by_prefix("keys")
    same((hits["user:"], hits["key:"], misses["user:"], misses["key:"]), (7, 7, 1, 0))
    same((keys["user:"], keys["key:"], keys["(other):"], sum(keys.values()), len(keys)), (7, 7, 7, 23, 5), str(keys))
    assert all(bytes_ >= 8 * keys[prefix] for prefix, bytes_ in by_prefix("bytes").items())
    client.config_set("prefix-stats", "", "prefix-stats-delimiter", "", "metrics-port", 0)
    assert len(families) > 40, sorted(families)
    return f"{len(families)} families"


def tls(server):
    """redis-py over TLS, with certificates made by openssl; the port is opened by CONFIG SET."""
    if shutil.which("openssl") is None:
        raise Skipped("openssl is not installed")
    folder = server.folder / "tls"
    folder.mkdir(exist_ok=True)

    def openssl(*words):
        run(["openssl", *words], 60, cwd=folder)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "server.pem")
    port = free_port()
    plain = redis.Redis(port=server.port)
    try:
        plain.execute_command(
            "CONFIG", "SET", "tls-port", port, "tls-cert-file", str(folder / "server.pem"), "tls-key-file",
            str(folder / "server.key"), "tls-ca-cert-file", str(folder / "ca.pem"), "tls-auth-clients", "no")
    except (redis.ResponseError, redis.DataError) as error:
        if "TLS" in str(error) or "Unknown option" in str(error):
            raise Skipped(f"no TLS here: {error}") from error
        raise
    client = redis.Redis.from_url(f"rediss://localhost:{port}/0", ssl_ca_certs=str(folder / "ca.pem"))
    wait_for(client.ping, "the TLS port")
    big = os.urandom(5_000_000)
    with client.pipeline(transaction=False) as pipe:
        pipe.set("big", big)
        for _ in range(5):
            pipe.get("big")
        same([part == big for part in pipe.execute()[1:]], [True] * 5)

    async def talk():
        secure = redis.asyncio.from_url(f"rediss://localhost:{port}/0", ssl_ca_certs=str(folder / "ca.pem"), protocol=3)
        await asyncio.gather(*(secure.incr("n") for _ in range(20)))
        same(await secure.get("n"), b"20")
        await secure.aclose()
    asyncio.run(asyncio.wait_for(talk(), 60))
    plain.config_set("tls-port", 0)
