// ioredis as it comes: commands, pipelines, transactions, pub/sub, scripts, streams, scans, reconnecting.
import assert from "node:assert/strict";
import Redis from "ioredis";

const port = Number(process.argv[2]);
const redis = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: 3 });
await redis.flushall();
assert.equal(await redis.set("k", "v", "EX", 100), "OK");
assert.equal(await redis.get("k"), "v");
assert.deepEqual(await redis.pipeline().set("n", 1).incr("n").hset("h", { a: 1, b: 2 }).hgetall("h").exec(),
    [[null, "OK"], [null, 2], [null, 2], [null, { a: "1", b: "2" }]]);
assert.deepEqual(await redis.multi().lpush("l", "x", "y").lrange("l", 0, -1).exec(), [[null, 2], [null, ["y", "x"]]]);

await redis.watch("k");
await redis.set("k", "other");
assert.equal(await redis.multi().set("k", "mine").exec(), null);

redis.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
assert.equal(await redis.addTo("n", 40), 42);

const subscriber = redis.duplicate();
await subscriber.subscribe("news");
const heard = new Promise((resolve) => subscriber.on("message", (channel, text) => resolve([channel, text])));
assert.equal(await redis.publish("news", "hello"), 1);
assert.deepEqual(await heard, ["news", "hello"]);

await redis.xadd("s", "*", "field", "value");
const [[, entries]] = await redis.xread("COUNT", 10, "STREAMS", "s", "0");
assert.deepEqual(entries[0][1], ["field", "value"]);

const keys = Array.from({ length: 500 }, (_, at) => `scan:${at}`);
await redis.mset(keys.flatMap((key) => [key, "1"]));
const found = new Set();
for await (const page of redis.scanStream({ match: "scan:*", count: 50 })) page.forEach((key) => found.add(key));
assert.equal(found.size, 500);

const blocked = redis.duplicate().blpop("queue", 10);
await redis.rpush("queue", "job");
assert.deepEqual(await blocked, ["queue", "job"]);

const id = await redis.client("ID");
const again = new Promise((resolve) => redis.once("ready", resolve));
await subscriber.unsubscribe();
await subscriber.client("KILL", "ID", id);
await again;
assert.equal(await redis.get("k"), "other");
await assert.rejects(redis.incr("k"), /not an integer/);
console.log("all as expected");
process.exit(0);
