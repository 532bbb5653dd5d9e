// What every peer does alike: take commands, and post jobs to the target.

import { createInterface } from "node:readline";
import { Pool } from "undici";

// Requests under way at once.
export const CONCURRENCY = 100;
// Jobs in one insert.
const CHUNK = 1000;
const BODY = JSON.stringify({ hello: "world" });

const [connection, target] = process.argv.slice(2);
const { origin, pathname } = new URL(target);
const pool = new Pool(origin, { connections: CONCURRENCY });

export { connection };

// Sends what the service sends but for its signature. A failure is the queue's to retry.
export async function post(id, due) {
  const { statusCode, body } = await pool.request({
    path: pathname,
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "webhook-id": String(id),
      "X-Scheduled-For": due,
    },
    body: BODY,
  });
  await body.dump();
  if (statusCode >= 400) {
    throw new Error(`HTTP ${statusCode}`);
  }
}

// Obeys `start COUNT DUE`, which stores so many jobs due at a moment and begins to look
// for them, and `stop`; says "ok" when either is done. Ends when nobody speaks any more.
export async function obey({ store, start, stop }) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, count, due] = line.split(" ");
    if (verb === "start") {
      const jobs = Array.from({ length: Number(count) }, () => due);
      for (let first = 0; first < jobs.length; first += CHUNK) {
        await store(jobs.slice(first, first + CHUNK), new Date(due));
      }
      await start();
    } else {
      await stop();
    }
    console.log("ok");
  }
  process.exit(0);
}
