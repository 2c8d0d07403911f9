// bullmq as it comes: jobs now and later, retries, priorities, events; nearly all of it in Lua scripts on the server.
import assert from "node:assert/strict";
import { Queue, QueueEvents, Worker, FlowProducer } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };
const queue = new Queue("work", { connection });
await queue.obliterate({ force: true });
const events = new QueueEvents("work", { connection });
await events.waitUntilReady();
let failures = 0;
const worker = new Worker("work", async (job) => {
    if (job.name === "flaky" && failures++ < 2) throw new Error("not yet");
    if (job.name === "parent") return Object.values(await job.getChildrenValues()).reduce((sum, n) => sum + n, 0);
    await job.updateProgress(50);
    return job.data.n * 2;
}, { connection, concurrency: 4 });

const jobs = await queue.addBulk(Array.from({ length: 200 }, (_, n) => ({ name: "double", data: { n } })));
const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 30000)));
assert.deepEqual(results, jobs.map((_, n) => n * 2));

const began = Date.now();
const delayed = await queue.add("double", { n: 7 }, { delay: 300 });
assert.equal(await delayed.waitUntilFinished(events, 30000), 14);
assert.ok(Date.now() - began >= 300, "not before its time");

const flaky = await queue.add("flaky", { n: 4 }, { attempts: 3, backoff: { type: "fixed", delay: 50 } });
assert.equal(await flaky.waitUntilFinished(events, 30000), 8);
assert.equal(failures, 3);

const lost = await queue.add("flaky", { n: 1 }, { attempts: 1, jobId: "once" });
await lost.waitUntilFinished(events, 30000);
assert.equal((await queue.getJobCounts()).failed, 0);

const flow = new FlowProducer({ connection });
const tree = await flow.add({
    name: "parent", queueName: "work", data: {},
    children: [1, 2, 3].map((n) => ({ name: "double", queueName: "work", data: { n } })),
});
assert.equal(await tree.job.waitUntilFinished(events, 30000), 12);
const counts = await queue.getJobCounts();
assert.equal(counts.completed, 200 + 1 + 1 + 1 + 4, JSON.stringify(counts));
await worker.close();
await flow.close();
await events.close();
await queue.close();
console.log("all as expected");
process.exit(0);
