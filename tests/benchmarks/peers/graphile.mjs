// graphile-worker on PostgreSQL; with "batched" as it is quickest, else as it comes.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { CONCURRENCY, connection, obey, post } from "./contest.mjs";

const BATCHED = {
  localQueue: { size: 500 },
  completeJobBatchDelay: 50,
  failJobBatchDelay: 50,
};

const worker = {
  connectionString: connection,
  concurrentJobs: CONCURRENCY,
  maxPoolSize: 20,
  // As often as the other peers look; it waits two seconds by itself.
  pollInterval: 500,
  logger: new Logger(() => () => {}),
  ...(process.argv[4] === "batched" ? BATCHED : {}),
};
const preset = { worker };
const utils = await makeWorkerUtils({ preset });
await utils.migrate();
let runner;

await obey({
  store: (jobs, runAt) =>
    utils.addJobs(jobs.map((due) => ({ identifier: "post", payload: { due }, runAt }))),
  start: async () => {
    const taskList = { post: ({ due }, { job }) => post(job.id, due) };
    runner = await run({ preset, noHandleSignals: true, taskList });
  },
  stop: () => runner.stop(),
});
