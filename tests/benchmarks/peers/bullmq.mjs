// BullMQ on Redis.

import { Queue, Worker } from "bullmq";
import { CONCURRENCY, connection, obey, post } from "./contest.mjs";

const options = { connection: { path: connection, maxRetriesPerRequest: null } };
const queue = new Queue("post", options);
let worker;

await obey({
  store: (jobs, runAt) =>
    queue.addBulk(
      jobs.map((due) => ({
        name: "post",
        data: { due },
        opts: { delay: Math.max(0, runAt - Date.now()), removeOnComplete: true },
      })),
    ),
  start: async () => {
    worker = new Worker("post", (job) => post(job.id, job.data.due), {
      ...options,
      concurrency: CONCURRENCY,
    });
    await worker.waitUntilReady();
  },
  stop: () => worker.close(),
});
