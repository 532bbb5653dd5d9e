// pg-boss on PostgreSQL, with batches that keep it busy.

import PgBoss from "pg-boss";
import { connection, obey, post } from "./contest.mjs";

const WORKERS = 4;
const POLLING = { batchSize: 500, pollingIntervalSeconds: 0.5 };

// Its housekeeping is left on, as anybody would have it.
const boss = new PgBoss(connection);
boss.on("error", console.error);
await boss.start();
await boss.createQueue("post");
let workers = [];

await obey({
  store: (jobs, startAfter) =>
    boss.insert(jobs.map((due) => ({ name: "post", data: { due }, startAfter }))),
  start: async () => {
    const work = (jobs) => Promise.all(jobs.map((job) => post(job.id, job.data.due)));
    for (let number = 0; number < WORKERS; number += 1) {
      workers.push(await boss.work("post", POLLING, work));
    }
  },
  stop: async () => {
    await Promise.all(workers.map((id) => boss.offWork({ id })));
    workers = [];
  },
});
