"""Rows of side-by-side about collections: throughput of their commands, memory per element, the pause that deleting a large one makes."""
import time

#: Commands that redis-benchmark knows, in an order in which each finds what it needs; and one that it does not.
TESTS = ["lpush", "lpop", "sadd", "hset", "spop", "zadd", "lrange_100", "mset"]
XADD = ["XADD", "stream", "*", "field", "x" * 64]
#: Elements of a command that fills.
BATCH = 1000
#: Commands of a fill that are sent before their replies are read.
AHEAD = 20


def command(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def member(number):
    """16 bytes that do not come in order."""
    return b"%016x" % (number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)


def fill(server, commands):
    """Sends commands, some ahead of their replies; each is answered by one line."""
    waiting = 0

    def answer():
        while b"\r\n" not in server.input:
            server.receive()
        line, server.input = server.input.split(b"\r\n", 1)
        if line[:1] == b"-":
            raise RuntimeError(f"{server.name} answered {line.decode()}")

    for one in commands:
        server.socket.sendall(one)
        waiting += 1
        if waiting == AHEAD:
            answer()
            waiting -= 1
    for _ in range(waiting):
        answer()


def one_large(head, words_of, count):
    """Commands that put `count` elements under one key."""
    for first in range(0, count, BATCH):
        words = list(head)
        for number in range(first, min(count, first + BATCH)):
            words += words_of(number)
        yield command(words)


def small_hashes(count):
    for number in range(count):
        pairs = [word for field in range(5) for word in (b"field%d" % field, b"value%d" % (number % 1000))]
        yield command([b"HSET", b"hash:%010d" % number, *pairs])


#: What is filled, how many elements, and the commands.
FILLS = [
    ("sorted set of 16 B members", 5_000_000,
     lambda count: one_large([b"ZADD", b"k"], lambda number: (b"%d" % (number * 7919 % 1_000_003), member(number)), count)),
    ("set of 16 B members", 5_000_000, lambda count: one_large([b"SADD", b"k"], lambda number: (member(number),), count)),
    ("list of 16 B elements", 5_000_000, lambda count: one_large([b"RPUSH", b"k"], lambda number: (member(number),), count)),
    ("hashes of 5 small fields", 1_000_000, small_hashes),
]


def throughput(bench, row, pipeline, no_persistence):
    keys, rates, cpu = bench.keys(1_000_000), {}, {}
    for _ in range(bench.rounds):
        for name in bench.servers:
            with bench.server(name, no_persistence) as server:
                for test in [*TESTS, XADD]:
                    one = bench.load(server, test, 50, pipeline, keys, 64)
                    label = "xadd" if test is XADD else test
                    rates.setdefault(label, {}).setdefault(name, []).append(one["rate"])
                    cpu.setdefault(label, {}).setdefault(name, []).append(one["cpu"])
                    if test not in ("lpush", "sadd"):  # What the next test takes from.
                        server.call("FLUSHALL")
    for label in rates:
        head = f"{label.upper()}, 50 clients, pipeline {pipeline}"
        bench.report(row, f"{head}: throughput", "/s", rates[label])
        if label != "lrange_100":  # redis-benchmark fills its list within the measured time.
            bench.report(row, f"{head}: CPU per command", "us", cpu[label], "", "low")


def memory(bench, no_persistence):
    for what, wanted, commands in FILLS:
        count, used, resident = bench.keys(wanted), {}, {}
        for name in bench.servers:
            with bench.server(name, no_persistence) as server:
                empty = int(server.info("used_memory")), server.rss()
                fill(server, commands(count))
                used.setdefault(name, []).append((int(server.info("used_memory")) - empty[0]) / count)
                resident.setdefault(name, []).append((server.rss() - empty[1]) / count)
        bench.report("collections-memory", f"{what}, {count}: used_memory per element", "B", used, "", "low")
        bench.report("collections-memory", f"{what}, {count}: RSS per element", "B", resident, "", "low")


def delete_stall(bench, no_persistence):
    count, worst, quiet = bench.keys(1_000_000), {}, {}
    for _ in range(max(1, min(3, bench.rounds))):
        for name in bench.servers:
            with bench.server(name, no_persistence) as server:
                fill(server, one_large([b"SADD", b"k"], lambda number: (member(number),), count))
                with bench.pings() as idle:
                    time.sleep(1)
                with bench.pings() as deleting:
                    time.sleep(0.5)
                    if server.call("DEL", "k") != "1":
                        raise RuntimeError(f"{name} did not delete the set")
                    time.sleep(0.5)
                quiet.setdefault(name, []).append(idle["max"] / 1000)
                worst.setdefault(name, []).append(deleting["max"] / 1000)
    bench.report("delete-stall", f"worst ping while a set of {count} members is deleted", "ms", worst, "idle worst + 1 ms", "low")
    bench.report("delete-stall", "worst ping of the idle server", "ms", quiet, "", "low")
